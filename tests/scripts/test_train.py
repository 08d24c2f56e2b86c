"""Training and measuring it from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from lib.training.registry import Registry
from scripts.train import read_data
from tests.support.datasets import build_small, pack_small
from tests.support.file_server import serve_files
from tests.support.prepared import run_prepared
from tests.support.small_sam import disc_cases, save_base

pytestmark = pytest.mark.timeout(900)  # real trainings, on whatever machine

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--max-epochs", "1", "--epoch-steps", "1", "--train-batch-size", "2", "--train", "decoder"]


def write_cases(folder: Path, count: int = 3) -> Path:
    folder.mkdir()
    for case in disc_cases(count):
        path = folder / f"{case.patient}.npz"
        np.savez(path, image=case.image, mask=case.masks, labels=np.array(case.labels))
    return folder


def run(
    script: str, *arguments: str | Path, launcher: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if not launcher:
        return run_prepared(ROOT / "scripts" / script, *arguments, env=environment, timeout=240)
    command = [sys.executable, *launcher, str(ROOT / "scripts" / script), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=240, env=environment, check=False
    )


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_base(tmp_path)


def test_a_folder_of_cases_becomes_a_version(tmp_path: Path, base: Path) -> None:
    data, registry = write_cases(tmp_path / "data"), tmp_path / "registry"
    arguments = ["--data", data, "--checkpoint", base, "--registry", registry, *QUICK]
    done = run("train.py", *arguments, "--publish", "force")
    assert done.returncode == 0, done.stderr
    versions = Registry(registry, "samed2d_t", base)
    serving = versions.serving()
    assert serving is not None and f"published: {serving.model_version}" in done.stdout
    report = Path(done.stdout.rsplit("report: ", 1)[1].strip())
    assert report.is_file()
    stats = json.loads((versions.folder / "train_stats.json").read_text())
    assert stats["phase"] == "done"


def test_data_sets_are_read_in_all_their_forms(tmp_path: Path) -> None:
    data_set = build_small(tmp_path / "built")
    shards = pack_small(data_set, tmp_path / "shards")
    files = {path.name: path.read_bytes() for path in shards.iterdir()}
    cases = write_cases(tmp_path / "cases", 1)
    with serve_files(**files) as server:
        places = [str(place) for place in (cases, data_set, shards, server.url)]
        alone = [read_data(Namespace(data=[place])) for place in places]
        joined = read_data(Namespace(data=places))
    # Of a folder of PNG files the side for training; these shards hold both.
    train = json.loads((data_set / "image2label_train.json").read_text())
    assert {image.name for image in alone[1].images} == {Path(image).stem for image in train}
    assert len(alone[1].images) < len(alone[2].images)
    assert alone[2].digest == alone[3].digest
    assert len(joined.images) == sum(len(part.images) for part in alone)


def test_two_processes_of_torchrun_publish_one_version(tmp_path: Path, base: Path) -> None:
    data, registry = write_cases(tmp_path / "data"), tmp_path / "registry"
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
    arguments = ["--data", data, "--checkpoint", base, "--registry", registry, *QUICK]
    done = run("train.py", *arguments, "--publish", "force", launcher=launcher)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(Registry(registry, "samed2d_t", base).versions()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-epochs", "none"], "max_epochs"),
        (["--train", "encoder"], "adapters, decoder"),
        (["--checkpoint", "/nowhere.safetensors"], "get_weights.py"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: list[str], words: str) -> None:
    data = write_cases(tmp_path / "data", 1)
    done = run("train.py", "--data", data, "--registry", tmp_path / "registry", *arguments)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_a_folder_without_labels_is_an_error(tmp_path: Path, base: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run("train.py", "--data", tmp_path / "empty", "--checkpoint", base)
    assert done.returncode == 1 and "no labelled image" in done.stderr


def test_killed_runs_break_nothing(tmp_path: Path) -> None:
    done = run("check_interruptions.py", "--kills", "3", "--folder", tmp_path / "work")
    assert done.returncode == 0, done.stderr
    assert "3 kills" in done.stdout and "one always served" in done.stdout


def test_what_a_few_cases_bring_is_measured_once(tmp_path: Path, base: Path) -> None:
    data, out = write_cases(tmp_path / "data"), tmp_path / "adaptation"
    arguments = ["--data", data, "--checkpoint", base, "--cases", "1", "--batches", "1"]
    arguments += ["--seeds", "1", "--train", "decoder", "--batch-size", "1", "--out", out]
    for _ in range(2):
        done = run("measure_adaptation.py", *arguments)
        assert done.returncode == 0, done.stderr
        assert "| data, decoder | 1 |" in done.stdout
    assert "0 batches" not in done.stdout
    assert out.with_suffix(".png").stat().st_size > 1000


def test_the_parts_of_the_recipe_are_measured_once(tmp_path: Path, base: Path) -> None:
    data, out = write_cases(tmp_path / "data"), tmp_path / "ablation.json"
    arguments = ["--data", data, "--checkpoint", base, "--cases", "1", "--batches", "1"]
    arguments += [
        "--seeds",
        "1",
        "--batch-size",
        "1",
        "--only",
        "default; no clipping",
        "--out",
        out,
    ]
    for _ in range(2):
        done = run("ablate_training.py", *arguments)
        assert done.returncode == 0, done.stderr
        assert "| no clipping | 1 |" in done.stdout and "| before | 2 |" in done.stdout
    assert run("ablate_training.py", *arguments, "--only", "nonsense").returncode == 2

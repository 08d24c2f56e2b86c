"""scripts/pretrain.py: its settings from a file, and a run of two processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lib.errors import OptionError
from lib.networks import build_model
from scripts.pretrain import parse_arguments, read_material
from tests.support.datasets import build_small, pack_small

SCRIPT = Path(__file__).parents[2] / "scripts" / "pretrain.py"


def config(folder: Path, text: str) -> list[str]:
    file = folder / "run.toml"
    file.write_text(text)
    return ["--config", str(file), "--out", str(folder / "out")]


def test_settings_come_from_the_file_unless_the_command_line_says_otherwise(tmp_path: Path) -> None:
    text = 'minutes = 3\nlearning_rate = 1e-4\nfp32 = true\ndata = ["a", "b"]\nreal_share = 0.1\n'
    options = parse_arguments([*config(tmp_path, text), "--real-share", "0.7", "--data", "c"])
    assert (options.minutes, options.learning_rate, options.fp32) == (3.0, 1e-4, True)
    assert options.real_share == 0.7
    assert options.data == ["a", "b", "c"]
    assert not parse_arguments(config(tmp_path, "fp32 = false\n")).fp32


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("minuets = 3\n", "minuets; allowed are"),
        ("minutes = 'long'\n", "invalid float value"),
        ("minutes = \n", "run.toml"),
        ('kinds = "xray,cartoon"\n', "cartoon: no kind"),
        ("resume = true\n", "resume; allowed are"),
    ],
)
def test_a_wrong_file_is_refused(
    tmp_path: Path, text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(config(tmp_path, text))
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.timeout(600)
def test_two_processes_train_one_network_and_go_on(tmp_path: Path) -> None:
    text = "minutes = 0.1\nprocesses = 2\nbatch_size = 1\nvalidation_phantoms = 1\n"
    command = [sys.executable, str(SCRIPT), *config(tmp_path, text), "--kinds", "microscopy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    build_model("samed2d_t", tmp_path / "out" / "samed2d_t.safetensors")
    (line,) = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    step = json.loads(line)["step"]
    assert step > 0
    longer = str(json.loads(line)["minutes"] + 0.1)
    again = subprocess.run(
        [*command, "--resume", "--minutes", longer], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert f"resumed at step {step}" in again.stdout
    *_, line = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["step"] > step


def test_one_data_set_is_streamed_and_one_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(build_small(tmp_path))
    shards = str(pack_small(tmp_path / "set", tmp_path / "shards"))
    more = ["--validation-data", folder, "--validation-images", "1", "--out", str(tmp_path)]
    training, data_set, validation = read_material(parse_arguments(["--data", shards, *more]))
    assert training == [] and data_set is not None and data_set.total() > 100
    test = json.loads((tmp_path / "set" / "label2image_test.json").read_text())
    assert [f"images/{image.name}.png" in test.values() for image in validation] == [True]
    assert f"a stream of {data_set.total()} to train on, 1 held out" in capsys.readouterr().out
    with pytest.raises(OptionError, match="2 data sets"):
        read_material(parse_arguments(["--data", shards, "--data", folder, *more]))

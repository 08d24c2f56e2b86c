"""scripts/precompute.py, as a user runs it, and the server that finds what it made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import requests

from tests.server.clicks import post_infer
from tests.support.prepared import run_prepared
from tests.support.server import REPOSITORY, start_server
from tests.support.studies import write_small_study

SCRIPT = REPOSITORY / "scripts" / "precompute.py"


def run(studies: Path, cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: v for key, v in os.environ.items() if not key.startswith("SAMED2D_")}
    environment |= {"SAMED2D_BACKEND": "torch", "SAMED2D_CACHE_DIR": str(cache)}
    environment["OMP_NUM_THREADS"] = "1"
    command = (SCRIPT, "--studies", studies, *arguments)
    return run_prepared(*command, env=environment, cwd="/", timeout=240)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_small_study(tmp_path_factory.mktemp("studies"))
    (folder / "broken.nii.gz").write_text("no image")
    return folder


@pytest.mark.server
def test_a_server_finds_what_was_encoded_before(studies: Path, tmp_path: Path) -> None:
    first = run(studies, tmp_path / "cache")
    assert first.returncode == 1, first.stderr  # one image is broken
    assert "broken" in first.stderr
    assert not first.stdout.startswith("0 slices")
    second = run(studies, tmp_path / "cache", "--quiet")
    assert second.stdout.startswith("0 slices encoded"), second.stdout + second.stderr
    with start_server(studies, env={"SAMED2D_CACHE_DIR": str(tmp_path / "cache")}) as server:
        images = requests.get(f"{server.url}/datastore/?output=all", timeout=60).json()["objects"]
        image = sorted(name for name in images if name != "broken")[0]
        answer = post_infer(server, {"foreground": [[1, 1, 0]]}, image, output="json")
    assert answer.json()["encoded_before"] is True


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--image", "nobody"), 1, "nobody"),
        (("--model", "other"), 1, "samed2d"),
        (("--conf", "precison", "int8"), 1, "precison"),
        (("--colour",), 2, "--colour"),
    ],
)
def test_wrong_arguments(
    studies: Path, tmp_path: Path, arguments: tuple[str, ...], status: int, message: str
) -> None:
    ended = run(studies, tmp_path, *arguments)
    assert ended.returncode == status
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    ended = run(tmp_path / "gone", tmp_path)
    assert (ended.returncode, "gone" in ended.stderr) == (1, True)

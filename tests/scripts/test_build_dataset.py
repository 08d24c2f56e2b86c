"""The command that builds a data set, killed and not."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from scripts.build_dataset import main
from tests.support.archives import tree, write_archive

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "build_dataset.py"


def test_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    description = write_archive(tmp_path / "in")
    arguments = ["--in", str(description), "--out", str(tmp_path / "out"), "--quiet"]
    assert main(arguments) == 0
    assert "5 cases, " in capsys.readouterr().out
    assert main([*arguments, "--split", "image"]) == 0
    assert "one patient on both sides" in capsys.readouterr().err


def test_failed_cases_are_named_and_change_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    description = write_archive(tmp_path / "in", broken=True)
    assert main(["--in", str(description), "--out", str(tmp_path / "out"), "--quiet"]) == 1
    assert "failed: p1_scan2 (small--p1_scan2)" in capsys.readouterr().err


def test_wrong_descriptions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "no.yaml"
    assert main(["--in", str(path), "--out", str(tmp_path / "out")]) == 1
    assert "What to do" in capsys.readouterr().err


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "build-a-dataset.md").read_text()
    (example,) = re.findall(r"`sample.yaml`.*?```yaml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "sample.yaml"
    path.write_text(example.replace("root: sample-data", f"root: {ROOT / 'sample-data'}"))
    assert main(["--in", str(path), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert len(list((tmp_path / "out" / "masks").iterdir())) > 100


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments_and_started_again(tmp_path: Path, seed: int) -> None:
    description = write_archive(tmp_path / "in", cases=12)
    assert main(["--in", str(description), "--out", str(tmp_path / "whole"), "--quiet"]) == 0
    out = tmp_path / "out"
    command = [sys.executable, str(SCRIPT), "--in", str(description), "--out", str(out), "--quiet"]
    rng = np.random.default_rng(seed)
    for kill_worker in (False, True, False):
        process = subprocess.Popen([*command, "--workers", "2"], stderr=subprocess.DEVNULL)
        cases = len(list((out / ".build" / "cases").glob("*.json"))) if out.exists() else 0
        _wait_for_more(out, cases, process)
        time.sleep(float(rng.uniform(0, 0.05)))
        children = psutil.Process(process.pid).children() if process.poll() is None else []
        if kill_worker and children:
            children[-1].send_signal(signal.SIGKILL)
        else:
            process.kill()
        process.wait(120)
        psutil.wait_procs(children, 30)
        assert not any(child.is_running() for child in children)
    assert subprocess.run(command, check=False).returncode == 0
    assert tree(out) == tree(tmp_path / "whole")
    parts = out / ".build" / "parts"
    assert not parts.exists()


def _wait_for_more(out: Path, cases: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        found = len(list((out / ".build" / "cases").glob("*"))) if out.exists() else 0
        if found > cases:
            return
        time.sleep(0.01)

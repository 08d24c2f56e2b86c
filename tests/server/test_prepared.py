"""Processes that begin with the host's packages imported are otherwise like any other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.prepared import PreparedProcess, run_prepared, start_prepared
from tests.support.server import REPOSITORY, server_environment

pytestmark = pytest.mark.server

MODULE = """
import json, os, random, signal, sys, tempfile, time

import numpy as np

print(json.dumps({
    "arguments": sys.argv[1:],
    "file": sys.argv[0],
    "folder": os.getcwd(),
    "environment": dict(os.environ),
    "name": __name__,
    "path": sys.path,
    "temporary": tempfile.gettempdir(),
    "random": [random.random(), float(np.random.random())],
    "loaded": sorted(sys.modules),
    "ignores": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
    "input": sys.stdin.read(),
}), flush=True)
if sys.argv[1] == "wait":
    time.sleep(1000)
sys.exit(7)
"""


def start(folder: Path, *arguments: str) -> tuple[PreparedProcess, Path]:
    """A process that tells what it sees, and the file it tells it in."""
    home = folder / "home"
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    (folder / "told.py").write_text(MODULE)
    log = folder / f"{len(list(folder.iterdir()))}.log"
    env = server_environment(home, {"SAMED2D_OWN": "yes"})
    return start_prepared(["told", *arguments], cwd=folder, env=env, out=log), log


def told(log: Path) -> dict[str, Any]:
    """What a process saw."""
    return dict(json.loads(log.read_text()))


def test_a_process_sees_what_python_m_would_show_it(tmp_path: Path) -> None:
    process, log = start(tmp_path, "end", "a b")
    assert process.wait(60) == process.poll() == 7
    seen = told(log)
    assert seen["arguments"] == ["end", "a b"] and seen["name"] == "__main__"
    assert seen["file"] == str(tmp_path / "told.py") and seen["folder"] == str(tmp_path)
    assert seen["path"][0] == str(tmp_path)
    assert {str(REPOSITORY), str(REPOSITORY / "tests" / "support")}.isdisjoint(seen["path"])
    expected = server_environment(tmp_path / "home", {"SAMED2D_OWN": "yes"})
    assert seen["environment"] == expected
    assert seen["temporary"] == str(tmp_path / "home" / "tmp")
    assert seen["input"] == "" and not seen["ignores"]


def test_nothing_of_the_host_or_ours_is_loaded(tmp_path: Path) -> None:
    process, log = start(tmp_path, "end")
    process.wait(60)
    first = {name.partition(".")[0] for name in told(log)["loaded"]}
    assert {"torch", "monai"} <= first
    assert first.isdisjoint({"monailabel", "lib", "tests", "scripts"})


def test_two_processes_draw_other_numbers(tmp_path: Path) -> None:
    drawn = []
    for _ in range(2):
        process, log = start(tmp_path, "end")
        process.wait(60)
        drawn += told(log)["random"]
    assert len(set(drawn)) == 4


def test_a_killed_process_is_known_to_be(tmp_path: Path) -> None:
    process, _ = start(tmp_path, "wait")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.1)
    assert process.poll() is None
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    process.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_a_script_is_run_to_its_end(tmp_path: Path) -> None:
    script = tmp_path / "said.py"
    script.write_text("import sys, said_by\nprint(said_by.WORD)\nsys.exit('no')\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "said_by.py").write_text("WORD = 'yes'\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "elsewhere")}
    done = run_prepared(script, "a b", env=env, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (1, "yes\n", "no\n")
    script.write_text("import time\ntime.sleep(1000)\n")
    with pytest.raises(subprocess.TimeoutExpired):
        run_prepared(script, env={}, timeout=0.2)

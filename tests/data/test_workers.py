"""Processes that share out work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lib.data.workers import AHEAD, in_rounds
from lib.errors import UnavailableError

ROOT = Path(__file__).resolve().parents[2]


def square_or_die(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers: int) -> None:
    count = 2 * AHEAD * workers + 1
    assert list(in_rounds(square_or_die, range(count), workers)) == [n * n for n in range(count)]


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(UnavailableError, match="died"):
        list(in_rounds(square_or_die, [1, -1, 2], 2))


def test_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import time, sys\n"
        "from lib.data.workers import start_pool\n"
        "if __name__ == '__main__':\n"
        "    pool = start_pool(1)\n"
        "    pool.submit(time.sleep, 0).result()\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(600)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == "ready\n"
        children = psutil.Process(parent.pid).children()
        assert children
        parent.kill()
    deadline = time.monotonic() + 60
    while any(child.is_running() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(child.is_running() for child in children)

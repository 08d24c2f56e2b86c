"""One thread, the urgent first."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lib.inference.worker import Priority, PriorityWorker


def test_the_urgent_goes_first_and_within_a_priority_the_first() -> None:
    worker, go = PriorityWorker(), threading.Event()
    order: list[str] = []
    running = worker.submit(Priority.AHEAD, go.wait)
    while not running.running():
        time.sleep(0.001)
    work = [("a1", Priority.AHEAD), ("v1", Priority.VOLUME), ("c1", Priority.CLICK)]
    work += [("c2", Priority.CLICK), ("v2", Priority.VOLUME), ("a2", Priority.AHEAD)]
    futures = [worker.submit(p, lambda name=name: order.append(name)) for name, p in work]
    go.set()
    for future in futures:
        future.result(20)
    assert order == ["c1", "c2", "v1", "v2", "a1", "a2"]


def test_results_and_errors_come_back() -> None:
    worker = PriorityWorker("name")
    assert worker.run(Priority.CLICK, lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        worker.run(Priority.CLICK, lambda: 1 // 0)
    name = worker.run(Priority.CLICK, lambda: threading.current_thread().name)
    assert name == "name" != threading.current_thread().name


def test_work_inside_work_is_done_in_place() -> None:
    worker = PriorityWorker()

    def outer() -> str:
        return worker.run(Priority.AHEAD, lambda: "inner")

    assert worker.submit(Priority.CLICK, outer).result(20) == "inner"


def test_closing_waits_for_what_runs_and_leaves_the_rest() -> None:
    worker, go = PriorityWorker(), threading.Event()
    running = worker.submit(Priority.CLICK, lambda: go.wait(20))
    while not running.running():
        time.sleep(0.001)
    waiting = worker.submit(Priority.CLICK, lambda: "done")
    closing = threading.Thread(target=worker.close)
    closing.start()
    go.set()
    closing.join(20)
    assert running.result(20) is True
    assert not closing.is_alive()
    assert not waiting.done() or waiting.cancelled()


END = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from lib.inference.worker import Priority, PriorityWorker
worker = PriorityWorker()
square = torch.rand(2000, 2000)
futures = [worker.submit(Priority.AHEAD, lambda: square @ square) for _ in range(200)]
futures[0].result()
print("the end")
"""


def test_a_process_ends_in_peace_while_its_worker_computes() -> None:
    root = str(Path(__file__).resolve().parents[2])
    ended = subprocess.run(
        [sys.executable, "-c", END, root], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "the end\n", "")


def test_what_is_taken_back_is_not_done() -> None:
    worker, go = PriorityWorker(), threading.Event()
    running = worker.submit(Priority.CLICK, go.wait)
    while not running.running():
        time.sleep(0.001)
    done: list[int] = []
    taken_back = worker.submit(Priority.CLICK, lambda: done.append(1))
    assert taken_back.cancel()
    go.set()
    worker.run(Priority.CLICK, lambda: None)
    assert done == []

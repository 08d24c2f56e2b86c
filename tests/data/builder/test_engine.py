"""Workers that die, and how many cases are under way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib.data.builder.case_builder import Outcome
from lib.data.builder.case_task import CaseTask
from lib.data.builder.description import Source
from lib.data.builder.engine import AHEAD, DIED, _run_remote, run_local, run_ray
from lib.errors import UnavailableError
from tests.support.server import free_port

SOURCE = Source("d", "npz", "x_ray", {"a": "b"}, "")


def tasks(count: int) -> list[CaseTask]:
    return [CaseTask(SOURCE, {}, f"{n}", f"{n}", Path(), {}, "") for n in range(count)]


def write_down(task: CaseTask, out: Path) -> Outcome:
    with (out / task.word).open("a") as file:
        file.write(".")
    return Outcome(task.key, 1)


def die_on_3(task: CaseTask, out: Path) -> Outcome:
    if task.word == "3":
        os.kill(os.getpid(), signal.SIGKILL)
    return write_down(task, out)


def die_once_on_3(task: CaseTask, out: Path) -> Outcome:
    if task.word == "3" and not (out / "died").exists():
        (out / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return write_down(task, out)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_case_once(tmp_path: Path, workers: int) -> None:
    outcomes = list(run_local(tasks(9), tmp_path, workers, write_down))
    assert sorted(o.key for o in outcomes) == [f"d--{n}" for n in range(9)]
    assert {path.read_text() for path in tmp_path.iterdir()} == {"."}


def test_a_case_that_kills_workers_is_reported_and_the_others_are_done(tmp_path: Path) -> None:
    outcomes = list(run_local(tasks(9), tmp_path, 2, die_on_3))
    assert sorted(o.key for o in outcomes) == [f"d--{n}" for n in range(9)]
    assert [(o.key, o.error) for o in outcomes if o.error] == [("d--3", DIED)]


def test_a_worker_that_dies_once_costs_nothing(tmp_path: Path) -> None:
    outcomes = list(run_local(tasks(9), tmp_path, 2, die_once_on_3))
    assert len(outcomes) == 9 and not any(o.error for o in outcomes)


class FakeRay:
    """Ray's few functions that are used, one after the other; counts what is under way."""

    class exceptions:  # noqa: N801
        class RayError(Exception):
            """As Ray's."""

        class RayTaskError(RayError):
            """As Ray's."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.most = 0

    def remote(self, function: Any) -> Any:
        def start(task: CaseTask, out: Path) -> tuple[CaseTask, Path]:
            self.waiting.append((task, out))
            self.most = max(self.most, len(self.waiting))
            return task.key, out

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=start))

    def wait(self, references: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return references[-num_returns:], references[:-num_returns]

    def get(self, reference: Any) -> Outcome:
        self.waiting = [w for w in self.waiting if w[0].key != reference[0]]
        if reference[0] == "d--3":
            raise self.exceptions.RayError
        return Outcome(reference[0], 1)


def test_ray_has_few_cases_under_way_and_reports_those_it_lost(tmp_path: Path) -> None:
    ray = FakeRay()
    taken = 0

    def counted() -> Iterator[CaseTask]:
        nonlocal taken
        for task in tasks(20):
            taken += 1
            yield task

    outcomes = []
    for outcome in _run_remote(ray, counted(), tmp_path, 2):
        outcomes.append(outcome)
        assert taken <= len(outcomes) + 2 * AHEAD
    assert sorted(o.key for o in outcomes) == sorted(f"d--{n}" for n in range(20))
    assert [(o.key, o.error) for o in outcomes if o.error] == [("d--3", DIED)]
    assert ray.most == 2 * AHEAD


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UnavailableError, match=r"pip install -r requirements-ray\.txt"):
        list(run_ray(tasks(1), tmp_path, 1))


def test_no_cluster_there(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError, match=f"no Ray cluster at {address}"):
        list(run_ray(tasks(1), tmp_path, 1, address))

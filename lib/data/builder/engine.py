"""Running the function for one case over many: on processes of this machine, or on Ray.

At most two cases for each worker are under way, so memory does not grow with the archive. A
worker that dies (killed, out of memory) takes with it the cases that were under way; they are
tried again one at a time, and the one that kills a worker alone is given up and reported.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any

from lib.data.builder.case_builder import Outcome, build_case
from lib.data.builder.case_task import CaseTask
from lib.data.workers import start_pool
from lib.errors import UnavailableError

AHEAD = 2
"""Cases under way for each worker: one in work, one waiting."""

RETRIES = 2
"""How often Ray tries a case again whose process or machine died."""

CONNECT_SECONDS = 10.0
"""For a first connection to a cluster."""

OBJECT_STORE_BYTES = 100 << 20
"""Of a cluster of this machine; only outcomes pass through it, which are small."""

QUIET = {"log_to_driver": False, "logging_level": logging.ERROR}

ROOT = Path(__file__).resolve().parents[3]
"""Folder that holds `lib`."""

DIED = "the process that worked on it died, each time (out of memory?)"

Build = Callable[[CaseTask, Path], Outcome]


def run_local(
    tasks: Iterable[CaseTask], out: Path, workers: int, build: Build = build_case
) -> Iterator[Outcome]:
    """Outcomes in the order in which they come.

    Args:
        tasks: cases.
        out: the folder.
        workers: processes; 1 works in this one.
        build: the function for one case.
    """
    if workers <= 1:
        yield from (build(task, out) for task in tasks)
        return
    waiting = iter(tasks)
    while True:
        suspects = yield from _run_pool(waiting, out, workers, build)
        if not suspects:
            return
        for task in suspects:
            yield from _run_alone(task, out, build)


def _run_pool(waiting: Iterator[CaseTask], out: Path, workers: int, build: Build) -> Any:
    """Yield outcomes until all is done or a worker died; returns the cases it may have had."""
    under_way: dict[Future[Outcome], CaseTask] = {}
    with start_pool(workers) as pool:
        while True:
            try:
                for task in islice(waiting, AHEAD * workers - len(under_way)):
                    under_way[_submit(pool, build, task, out)] = task
            except BrokenProcessPool:
                return [*under_way.values(), task]
            if not under_way:
                return []
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                if isinstance(future.exception(), BrokenProcessPool):
                    continue
                del under_way[future]
                yield future.result()
            if any(isinstance(f.exception(), BrokenProcessPool) for f in done):
                return list(under_way.values())


def _submit(pool: ProcessPoolExecutor, build: Build, task: CaseTask, out: Path) -> Future[Outcome]:
    return pool.submit(build, task, out)


def _run_alone(task: CaseTask, out: Path, build: Build) -> Iterator[Outcome]:
    with start_pool(1) as pool:
        try:
            yield pool.submit(build, task, out).result()
        except BrokenProcessPool:
            yield Outcome(task.key, error=DIED)


def run_ray(
    tasks: Iterable[CaseTask], out: Path, workers: int, address: str | None = None
) -> Iterator[Outcome]:
    """The same on a Ray cluster; `out` and the files of the cases are on a disk all nodes share.

    Args:
        tasks: cases.
        out: the folder.
        workers: cases in work at a time.
        address: of the cluster; None takes RAY_ADDRESS, or starts one on this machine alone.

    Raises:
        UnavailableError: the package ray is not installed, or no cluster is there.
    """
    # Before the import: Ray reports how it is used to its makers unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise UnavailableError(
            got="engine ray, but the package ray is not installed",
            allowed="engine local, or an installed ray",
            todo="uv pip install -r requirements-ray.txt -c requirements.lock",
        ) from error
    _join_cluster(ray, workers, address or os.environ.get("RAY_ADDRESS"))
    try:
        yield from _run_remote(ray, tasks, out.resolve(), workers)
    finally:
        ray.shutdown()


def _join_cluster(ray: Any, workers: int, address: str | None) -> None:
    """Connect to a cluster, or start one of `workers` cores on this machine."""
    # The workers import what they run: the repository lies at the same place on all machines.
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(paths)}}
    if not address:
        memory = OBJECT_STORE_BYTES
        started = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": memory}
        ray.init("local", runtime_env=environment, **QUIET, **started)
        return
    try:
        host, _, port = address.rpartition(":")
        if host and port.isdecimal() and "/" not in host:
            # Ray itself tries for minutes.
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        ray.init(address, runtime_env=environment, **QUIET)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UnavailableError(
            got=f"no Ray cluster at {address} ({str(error)[:200]})",
            allowed="the address of a running cluster",
            todo="start it with the same versions and token everywhere",
        ) from error


def _run_remote(ray: Any, tasks: Iterable[CaseTask], out: Path, workers: int) -> Iterator[Outcome]:
    remote = ray.remote(build_case).options(num_cpus=1, max_retries=RETRIES)
    waiting = iter(tasks)
    under_way: dict[Any, CaseTask] = {}
    while True:
        for task in islice(waiting, AHEAD * workers - len(under_way)):
            under_way[remote.remote(task, out)] = task
        if not under_way:
            return
        done, _ = ray.wait(list(under_way), num_returns=1)
        for reference in done:
            task = under_way.pop(reference)
            try:
                yield ray.get(reference)
            except ray.exceptions.RayTaskError:
                raise  # not a death: what the function raised, such as a full disk
            except ray.exceptions.RayError:
                yield Outcome(task.key, error=DIED)

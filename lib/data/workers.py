"""Processes that share out work, and end when the process that started them does."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from lib.errors import UnavailableError

AHEAD = 4
"""Items in a round for each process."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def start_pool(workers: int) -> ProcessPoolExecutor:
    """Processes that end with this one, also when it is killed."""
    # spawn: a fork of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_end_with_parent)


def in_rounds(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """Results in the order of the items.

    By the round, so that results do not pile up before they are taken.

    Args:
        work: a function that can be pickled.
        items: for it.
        workers: processes; 1 works in this one.

    Raises:
        UnavailableError: a process died.
    """
    if workers <= 1:
        yield from map(work, items)
        return
    try:
        with start_pool(workers) as pool:
            for start in range(0, len(items), AHEAD * workers):
                yield from pool.map(work, items[start : start + AHEAD * workers])
    except BrokenProcessPool as error:
        raise UnavailableError(
            got="a process that died (killed, or out of memory)",
            allowed="all of them alive to the end",
            todo="start it again, with fewer --workers where memory is short",
        ) from error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

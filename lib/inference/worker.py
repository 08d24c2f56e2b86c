"""One thread that does all arithmetic of a network, the urgent first.

A network on a CPU uses all cores for one image; two images at the same time take longer than one
after the other, and each thread that calls torch brings a team of threads of its own. So requests
hand their arithmetic to one worker, and a click never waits for more than the piece of background
work that runs already: whoever has much to do hands it over in pieces of one slice.

Concurrency contract: ``_waiting`` is a priority queue with a lock of its own; ``_last_urgent`` is
one number, replaced as a whole; nothing else is shared. Work must not wait for other work of the
same worker; work that calls `run` again is done at once, in place.
"""

from __future__ import annotations

import atexit
import itertools
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from enum import IntEnum
from queue import PriorityQueue
from typing import Any, TypeVar

Result = TypeVar("Result")


class Priority(IntEnum):
    """What goes first."""

    CLICK = 0
    """Somebody looks at the screen and waits."""
    VOLUME = 1
    """Somebody waits, and knows that it takes a while."""
    AHEAD = 2
    """Nobody waits yet."""
    SCORE = 3
    """Nobody may ever ask for it."""


class PriorityWorker:
    """Runs functions one after the other in a thread of its own.

    Within a priority, first come, first served.

    Args:
        name: of the thread, for logs and debuggers.
    """

    def __init__(self, name: str = "network") -> None:
        self._waiting: PriorityQueue[tuple[int, int, Future[Any], Callable[[], Any]]] = (
            PriorityQueue()
        )
        self._numbers = itertools.count()
        self._last_urgent = -math.inf
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()
        # A thread that is inside of torch when Python ends takes the process down with it.
        atexit.register(self.close)

    def run(self, priority: Priority, work: Callable[[], Result]) -> Result:
        """Wait for the result of ``work``; what it raises is raised here."""
        if threading.current_thread() is self._thread:
            return work()
        return self.submit(priority, work).result()

    def submit(self, priority: Priority, work: Callable[[], Result]) -> Future[Result]:
        """Hand over work without waiting; cancelling the future before it runs takes it back."""
        future: Future[Result] = Future()
        if priority <= Priority.VOLUME:
            self._last_urgent = time.monotonic()
        self._waiting.put((priority, next(self._numbers), future, work))
        return future

    def quiet_seconds(self) -> float:
        """How long ago somebody last asked for something and waited; infinite for never."""
        return time.monotonic() - self._last_urgent

    def close(self) -> None:
        """End the thread after the work that runs now; what waits is not done any more."""
        self._closed = True
        self.submit(Priority.CLICK, lambda: None)  # wakes a thread that waits
        self._thread.join()
        atexit.unregister(self.close)

    def _work(self) -> None:
        while not self._closed:
            *_, future, work = self._waiting.get()
            if self._closed or not future.set_running_or_notify_cancel():
                future.cancel()
                continue
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
            # Not kept until the next piece of work arrives.
            del future, work

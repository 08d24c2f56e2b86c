"""Memory of a process while it works."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

PAUSE = 1.0


class MemoryWatch:
    """Looks once a second; a context.

    Args:
        ask: memory in MiB.
    """

    def __init__(self, ask: Callable[[], float]) -> None:
        self._ask, self._end = ask, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples: list[float] = []

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(PAUSE):
            self.samples.append(self._ask())

    def quarters(self) -> list[float]:
        """Mean memory in each quarter of the time, MiB; the first one is the warming up."""
        if len(self.samples) < 4:
            return []
        return [float(np.mean(part)) for part in np.array_split(np.array(self.samples), 4)]

    @property
    def growth(self) -> float:
        """MiB by which the last quarter is above the second; 0 where there was too little time."""
        quarters = self.quarters()
        return quarters[3] - quarters[1] if quarters else 0.0

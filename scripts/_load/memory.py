"""Memory of a process while it works."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scripts._load.background import Background

PAUSE = 1.0


class MemoryWatch(Background):
    """Looks once a second; a context.

    Args:
        ask: memory in MiB.
    """

    def __init__(self, ask: Callable[[], float]) -> None:
        super().__init__()
        self._ask = ask
        self.samples: list[float] = []

    def run(self) -> None:
        """Look."""
        while not self.end.wait(PAUSE):
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

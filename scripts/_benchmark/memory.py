"""Peak memory of a process, where the system tells it (Linux).

The kernel keeps the largest resident size of each process (VmHWM) and starts anew when a 5 is
written to ``/proc/PID/clear_refs`` (proc(5)). Other systems have no such reset: the answer is
None there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_RESET_PEAK = "5"


@dataclass(frozen=True)
class MemoryUse:
    """Memory in MiB of a stretch of work.

    Attributes:
        before: resident before it.
        peak: the most at any moment of it.
    """

    before: float
    peak: float

    @property
    def added(self) -> float:
        """What the work needed on top."""
        return self.peak - self.before


class PeakMeter:
    """Measures from its making until `read`.

    Args:
        process: id; this process where None. Another one must belong to the same user.
    """

    def __init__(self, process: int | None = None) -> None:
        self._folder = Path("/proc", str(os.getpid() if process is None else process))
        self._before: float | None = None
        try:
            (self._folder / "clear_refs").write_text(_RESET_PEAK)
            self._before = self._field("VmRSS")
        except OSError:
            pass

    def read(self) -> MemoryUse | None:
        """The use since the start, or None where the system does not tell it."""
        try:
            peak = self._field("VmHWM")
        except OSError:
            return None
        if self._before is None or peak is None:
            return None
        return MemoryUse(self._before, peak)

    def _field(self, name: str) -> float | None:
        for line in (self._folder / "status").read_text().splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0]) / 1024
        return None

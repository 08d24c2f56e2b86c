"""How far a client's request for a volume is, and a way to end it.

A request for a volume takes seconds to a minute and is answered once. Who says its ``client_id``
can ask meanwhile which slices are done, and take the request back. One job for each client: a newer
one takes the place of the older.

Concurrency contract: the table and each job have a lock, held for look-ups only and never both at
once. Jobs are in memory, and gone when their requests are answered.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class JobProgress:
    """How far a job is.

    Attributes:
        slices: k of those that are answered, in ascending order.
        n_slices: of the volume; how many of them hold the object is not known before the end.
    """

    slices: tuple[int, ...]
    n_slices: int


@dataclass(eq=False)
class VolumeJob:
    """One request that is being answered.

    Attributes:
        n_slices: of the volume.
        cancelled: set when the client takes it back.
    """

    n_slices: int
    cancelled: threading.Event = field(default_factory=threading.Event)
    _slices: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, k: int) -> None:
        """Note down a slice; some are answered twice."""
        with self._lock:
            self._slices.add(k)

    def progress(self) -> JobProgress:
        """How far it is now."""
        with self._lock:
            return JobProgress(tuple(sorted(self._slices)), self.n_slices)


class VolumeJobs:
    """The jobs of all clients."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, VolumeJob] = {}

    @contextmanager
    def job(self, client: str | None, n_slices: int) -> Iterator[VolumeJob]:
        """A job for as long as the context lasts.

        Args:
            client: who asks; nobody can ask for the job of None.
            n_slices: of the volume.
        """
        job = VolumeJob(n_slices)
        if client is not None:
            with self._lock:
                self._jobs[client] = job
        try:
            yield job
        finally:
            with self._lock:
                if client is not None and self._jobs.get(client) is job:
                    del self._jobs[client]

    def find(self, client: str) -> VolumeJob | None:
        """The job of a client that is under way."""
        with self._lock:
            return self._jobs.get(client)

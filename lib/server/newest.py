"""Of several requests of one user for the same object only the newest is worth finishing.

Concurrency contract: one lock guards the table; it is held for look-ups only. A request reads its
own flag without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager


class NewestOnly:
    """Tells an older request that a newer one with the same key has come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[Hashable, threading.Event] = {}

    @contextmanager
    def request(self, key: Hashable | None) -> Iterator[Callable[[], bool]]:
        """Take part; gives a function that says whether a newer request has come.

        Args:
            key: what makes two requests rivals; None for a request that has none.
        """
        superseded = threading.Event()
        with self._lock:
            older = self._newest.get(key)
            if key is not None:
                self._newest[key] = superseded
        if older is not None:
            older.set()
        try:
            yield superseded.is_set
        finally:
            with self._lock:
                if self._newest.get(key) is superseded:
                    del self._newest[key]

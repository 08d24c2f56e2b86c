"""A cache bounded by bytes that forgets what was not used for longest.

Concurrency: one lock guards table and count; it is held for look-ups and never while a value is
made. Two threads may therefore make the same value at the same time; the later one stays.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteBoundedCache(Generic[Value]):
    """Least recently used values, at most ``max_bytes`` in all.

    Args:
        max_bytes: a value larger than this is not kept at all.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._nbytes = 0

    def get(self, key: Hashable) -> Value | None:
        """The value kept under ``key``, or None; it counts as used now."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: Hashable, value: Value, nbytes: int) -> None:
        """Keep a value of ``nbytes`` bytes, forgetting older ones to make room."""
        with self._lock:
            if key in self._entries:
                self._nbytes -= self._entries.pop(key)[1]
            if nbytes > self.max_bytes:
                return
            self._entries[key] = (value, nbytes)
            self._nbytes += nbytes
            while self._nbytes > self.max_bytes:
                self._nbytes -= self._entries.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._nbytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes kept now."""
        return self._nbytes

    def __len__(self) -> int:
        """Number of values kept now."""
        return len(self._entries)

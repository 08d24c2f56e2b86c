"""Something that goes on in a thread while a context is open."""

from __future__ import annotations

import threading
from typing import Self


class Background:
    """Runs `run` in a thread until the context ends; to be derived from."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self._thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        """Work until ``end`` is set."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end.set()
        self._thread.join()

"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], bool], seconds: float = 60, pause: float = 0.01) -> None:
    """Ask until it is so.

    Args:
        condition: asked again and again.
        seconds: after which it fails.
        pause: seconds between two questions.

    Raises:
        AssertionError: it never was.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(pause)

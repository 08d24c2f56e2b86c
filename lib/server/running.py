"""Whether this process is the server, and how its tasks end where it is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI

from lib.errors import Samed2dError


def running_server() -> FastAPI | None:
    """The host's web application; None in other processes, those that train for instance."""
    module = sys.modules.get("monailabel.app")
    return None if module is None else module.app


@contextmanager
def sentence_last() -> Iterator[None]:
    """In a process of its own, end a task with its error's sentence.

    Clients show the last lines of such a task's log, in which a stack would hide it.

    Raises:
        Samed2dError: in the server; there it is answered.
    """
    try:
        yield
    except Samed2dError as error:
        if running_server() is not None:
            raise
        raise SystemExit(error.message) from None

"""Who did what, one line of JSON each: labels, trainings, versions, images, sign-ins.

A line names people and what they did, never a patient: an image is named by the first digits of
the SHA-256 of its id, which whoever has the id can make again (`mark_of`).

The file is opened for adding only, readable by its owner alone, and opened anew when it was moved
away (logrotate). The same lines are in the server's log.

Concurrency contract: Python's logging has a lock of its own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import logging.handlers
import os
import time
from pathlib import Path

from lib.errors import OptionError
from lib.server.caller import CALLER

MARK_DIGITS = 16

logger = logging.getLogger("samed2d.audit")


class _PrivateFile(logging.handlers.WatchedFileHandler):
    """A log file that only its owner can read."""

    def _open(self) -> object:  # type: ignore[override]  # a text file, as there
        handle = os.open(self.baseFilename, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        return os.fdopen(handle, "a", encoding="utf-8")


def open_audit(path: Path) -> None:
    """Write the lines to this file from now on, and to no other.

    Raises:
        OptionError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handler = _PrivateFile(path, encoding="utf-8")
    except OSError as error:
        raise OptionError(
            got=f"the audit log {path}: {error.strerror}",
            allowed="a file that the server can write",
            todo="name another one with option audit_log",
        ) from error
    handler.setFormatter(logging.Formatter("%(message)s"))
    for old in logger.handlers[:]:
        logger.removeHandler(old)
        old.close()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def record(event: str, image: str = "", **facts: str | int | float | bool | None) -> None:
    """Add a line.

    Args:
        event: what was done: "label saved".
        image: id of the image it was done to, if any.
        facts: further keys; nothing that says who a patient is.
    """
    caller = CALLER.get()
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "event": event,
        "who": caller.name if caller.signed_in else None,
        **({"image": mark_of(image)} if image else {}),
        **facts,
    }
    logger.info("%s", json.dumps(line, ensure_ascii=False))


def mark_of(image: str) -> str:
    """What stands for an image in the audit log."""
    return hashlib.sha256(image.encode("utf-8", "surrogatepass")).hexdigest()[:MARK_DIGITS]

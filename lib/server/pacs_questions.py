"""What the server does with a PACS beside `lib.imaging.dicomweb`: it stores, and names series.

A full disk becomes an `UnavailableError` too; it must not leave half a file behind.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from lib.errors import NotFoundError, RefusedError, UnavailableError
from lib.imaging.dicomweb import AS_STORED as AS_STORED
from lib.imaging.dicomweb import Value
from lib.imaging.dicomweb import ask as ask
from lib.imaging.dicomweb import limit_patience as limit_patience

UID = re.compile(r"[0-9]+(\.[0-9]+)*")
MAX_UID = 64
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""Errors of a disk that takes no more."""

PASSING = (408, 409, 425, 429)
"""Refusals (HTTP 4xx) that another try may not meet."""


def send(question: Callable[[], Value]) -> Value:
    """Call the PACS to give it something.

    Raises:
        RefusedError: it answers that it does not take it.
        UnavailableError: as `ask`.
    """
    try:
        return ask(question)
    except UnavailableError as error:
        answer = getattr(error.__cause__, "response", None)
        status = 0 if answer is None else int(answer.status_code)
        if not 400 <= status < 500 or status in PASSING:
            raise
        raise RefusedError(
            got=f"HTTP status {status} of the PACS for a label",
            allowed="a DICOMweb server that takes DICOM SEG by STOW-RS",
            todo="allow this account to store, or look at the log of the PACS",
        ) from error


@contextmanager
def room_for(what: str, folder: Path) -> Iterator[None]:
    """Say in a sentence that a disk takes no more.

    Args:
        what: is written, for the message.
        folder: on that disk.
    """
    try:
        yield
    except requests.RequestException:  # an OSError too, but not of the disk
        raise
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise UnavailableError(
            got=f"no room for {what} ({error.strerror})",
            allowed=f"a disk under {folder} that takes it",
            todo="make room there and try again",
        ) from error


def check_uid(uid: str) -> str:
    """The UID of a series, before it becomes the name of a folder or part of an address.

    Raises:
        NotFoundError: no UID, so no such series.
    """
    if not UID.fullmatch(uid) or len(uid) > MAX_UID:
        raise unknown_series(uid)
    return uid


def unknown_series(image_id: str) -> NotFoundError:
    """The error for a series that the PACS does not have."""
    return NotFoundError(
        got=f"image {image_id[:128]!r}",
        allowed="the SeriesInstanceUID of a series in the PACS",
        todo="choose an image from GET /datastore/?output=all",
    )

"""How the PACS is asked: with limited patience, and so that its silence becomes an error.

Whatever a PACS answers that is not what was asked for, down to a page of a proxy, becomes an
`UnavailableError`; so does a full disk, which must not leave half a file behind.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import requests
from dicomweb_client import DICOMwebClient
from requests.adapters import HTTPAdapter

from lib.errors import NotFoundError, RefusedError, Samed2dError, UnavailableError

UID = re.compile(r"[0-9]+(\.[0-9]+)*")
MAX_UID = 64

TIMEOUT = (5.0, 60.0)
"""Seconds until a connection stands, and between two pieces of an answer."""

AS_STORED = (("application/dicom", "*"),)
"""Media type and transfer syntax of a question for files (DICOM PS3.18, 8.7.3.5.2)."""

PASSING = (408, 409, 425, 429)
"""Refusals (HTTP 4xx) that another try may not meet."""

Value = TypeVar("Value")


class _LimitedAdapter(HTTPAdapter):
    """Waits for a PACS as long as `TIMEOUT` says unless a call says otherwise."""

    def send(self, *args: object, **kwargs: object) -> requests.Response:
        """Send a request; as its base class."""
        kwargs["timeout"] = kwargs.get("timeout") or TIMEOUT
        return super().send(*args, **kwargs)  # type: ignore[arg-type]  # passed through


def limit_patience(client: DICOMwebClient) -> None:
    """Keep a silent PACS from stopping the server.

    The host answers one request at a time, so everybody waits for the PACS. The client of 0.8.5
    waits for an answer without end, and tries an address where nobody listens for 30 s.
    """
    client.set_http_retry_params(max_attempts=2, wait_exponential_multiplier=250)
    for scheme in ("http://", "https://"):
        client._session.mount(scheme, _LimitedAdapter())


def ask(question: Callable[[], Value]) -> Value:
    """Call the PACS.

    Raises:
        UnavailableError: it does not answer, or with something else than what was asked for.
    """
    try:
        return question()
    except requests.RequestException as error:
        raise _unusable(str(error).split("\n")[0]) from error
    except (Samed2dError, OSError):
        raise
    except Exception as error:  # pydicom and the client have no one error for garbage
        raise _unusable(f"{type(error).__name__}: {str(error)[:100]}") from error


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
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO):
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


def _unusable(reason: str) -> UnavailableError:
    return UnavailableError(
        got=f"no usable answer from the PACS ({reason[:200]})",
        allowed="a DICOMweb server that answers QIDO-RS and WADO-RS",
        todo="check that it runs and that the address and the account are right",
    )

"""Bytes of a file in a folder, or below an address: shards are read from either alike."""

from __future__ import annotations

import time
from pathlib import Path

import requests

from lib.errors import UnavailableError

TRIES = 4
TIMEOUT_SECONDS = 60.0


def read_whole(place: str, name: str, pause: float = 1.0) -> bytes:
    """A whole file.

    Args:
        place: folder, or http(s) address.
        name: of the file in it.
        pause: seconds before the second of several tries over HTTP; doubled each time.

    Raises:
        UnavailableError: it cannot be read.
    """
    if not place.startswith(("http://", "https://")):
        try:
            return (Path(place) / name).read_bytes()
        except OSError as error:
            raise _missing(place, name, str(error.strerror)) from error
    reason = ""
    for attempt in range(TRIES):
        time.sleep(pause * 2 ** (attempt - 1) if attempt else 0)
        try:
            answer = requests.get(f"{place.rstrip('/')}/{name}", timeout=TIMEOUT_SECONDS)
            if answer.status_code == 200:
                return answer.content
            reason = f"status {answer.status_code}"
            if 400 <= answer.status_code < 500:
                break
        except requests.RequestException as error:
            reason = type(error).__name__
    raise _missing(place, name, reason)


def _missing(place: str, name: str, reason: str) -> UnavailableError:
    return UnavailableError(
        got=f"{name} in {place}, which cannot be read ({reason})",
        allowed="a folder or address with shards and their index",
        todo="check the place",
    )

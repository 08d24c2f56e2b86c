"""Download of one file: resumed after an interruption, in place only when its hash is right."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import requests

from lib.errors import CheckpointError, NotFoundError, UnavailableError
from lib.networks.checkpoint import sha256_of

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes of the whole file, None where unknown."""

CHUNK_BYTES = 1 << 16
"""What a connection that breaks may cost; a piece is kept only when it is complete."""

TIMEOUT_SECONDS = (10.0, 60.0)
"""To connect, and between two pieces of data."""


class _BrokenOffError(Exception):
    """The transfer ended early; what arrived is kept and another attempt may go on from it."""


def download_file(
    url: str,
    destination: Path,
    sha256: str,
    *,
    progress: Progress | None = None,
    attempts: int = 4,
    pause_seconds: float = 1.0,
) -> Path:
    """Download ``url`` to ``destination``; the file appears there complete and verified, or not.

    Until then the data lies in ``<destination>.part``, where a later call goes on from. A
    destination that already has the right hash is left alone.

    Args:
        url: http or https address.
        destination: path of the file; its folder is made if absent.
        sha256: what the file must have, as hexadecimal text.
        progress: told about every piece that arrives.
        attempts: how often in a row nothing new may arrive before it gives up.
        pause_seconds: wait after the first such attempt; doubled after each further one.

    Returns:
        ``destination``.

    Raises:
        NotFoundError: the server has no such file, or refuses it.
        UnavailableError: no connection, a connection that keeps breaking, or a full disk.
        CheckpointError: the complete file has another hash; it has been removed.
    """
    if destination.is_file() and sha256_of(destination) == sha256.lower():
        return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(destination.name + ".part")
    furthest, failures = _size(part), 0
    while True:
        try:
            _fetch(url, part, progress)
            break
        except (_BrokenOffError, requests.RequestException) as error:
            failures = 1 if _size(part) > furthest else failures + 1
            furthest = max(furthest, _size(part))
            if failures >= attempts:
                raise _unreachable(url, part, error) from error
            time.sleep(pause_seconds * 2 ** (failures - 1))
    _verify(part, sha256, url)
    part.replace(destination)
    return destination


def _fetch(url: str, part: Path, progress: Progress | None) -> None:
    """Bring ``part`` to its full length, beginning after what it already holds."""
    held = _size(part)
    # Compressed transfer would make lengths and offsets meaningless.
    headers = {"Accept-Encoding": "identity"}
    if held:
        headers["Range"] = f"bytes={held}-"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
        if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if _total_of_range(answer) == held:
                return  # complete already; only its verification was missing
            part.unlink()
            raise _BrokenOffError("the server has another file than the one that was begun")
        _refuse_errors(answer, url)
        if answer.status_code != HTTPStatus.PARTIAL_CONTENT or _start_of_range(answer) != held:
            held = 0  # a server that knows no ranges sends everything
        total = _total_length(answer, held)
        _require_space(part, total, held)
        _append(answer, part, held, total, progress)


def _append(
    answer: requests.Response, part: Path, held: int, total: int | None, progress: Progress | None
) -> None:
    """Write the body after the first ``held`` bytes of ``part``."""
    with part.open("ab" if held else "wb") as file:
        for chunk in answer.iter_content(CHUNK_BYTES):
            file.write(chunk)
            held += len(chunk)
            if progress is not None:
                progress(held, total)
    if total is not None and held < total:
        raise _BrokenOffError(f"{held} of {total} bytes arrived")


def _refuse_errors(answer: requests.Response, url: str) -> None:
    """Raise for a status that is no success; only what may pass is worth another attempt."""
    status = answer.status_code
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        raise _BrokenOffError(f"the server answers {status} {answer.reason}")
    if status >= HTTPStatus.BAD_REQUEST:
        raise NotFoundError(
            got=f"{status} {answer.reason} for {url}",
            todo="the file has moved or a proxy forbids it: download it with a browser and "
            "install it with scripts/get_weights.py --from-file",
        )


def _total_length(answer: requests.Response, held: int) -> int | None:
    """Bytes of the whole file."""
    length = answer.headers.get("Content-Length")
    return held + int(length) if length is not None else None


def _start_of_range(answer: requests.Response) -> int | None:
    """Position in the file of the first byte of a 206 answer."""
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _total_of_range(answer: requests.Response) -> int | None:
    """Bytes of the whole file, from a 416 answer."""
    match = re.match(r"bytes \*/(\d+)$", answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _require_space(part: Path, total: int | None, held: int) -> None:
    """Refuse a transfer that cannot end well."""
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - held > free:
        raise UnavailableError(
            got=f"{total - held:,} bytes to download and {free:,} bytes free in {part.parent}",
            todo="free space there, or choose another folder with --dest",
        )


def _verify(part: Path, sha256: str, url: str) -> None:
    """Remove a file with the wrong hash and say so."""
    found = sha256_of(part)
    if found != sha256.lower():
        part.unlink()
        raise CheckpointError(
            got=f"{url} with SHA-256 {found}; the file has been removed",
            allowed=f"SHA-256 {sha256}",
            todo="run it again; if the hash is the same again, a proxy changes the file or it was "
            "replaced at its source: do not use it",
        )


def _unreachable(url: str, part: Path, error: Exception) -> UnavailableError:
    """The error after the last attempt."""
    held = _size(part)
    kept = f"; {held:,} bytes are kept and the next run goes on from there" if held else ""
    return UnavailableError(
        got=f"no download of {url}: {_reason(error)}{kept}",
        todo="check the internet connection and the proxy (HTTPS_PROXY); on a computer without "
        "internet copy the file there and use scripts/get_weights.py --from-file",
    )


def _reason(error: Exception) -> str:
    """The first cause in a few words; requests and urllib3 wrap it in layers of text."""
    cause: BaseException = error
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _size(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0

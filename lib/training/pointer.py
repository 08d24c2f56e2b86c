"""Which version serves: one small file, replaced as a whole.

It names the version and those before it, so that a version whose folder was destroyed can be passed
over without reading it.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from lib.training.durable import write_whole

FILE = "serving.json"
PART = f".part-{FILE}"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pointer:
    """What is to be served.

    Attributes:
        line: names of versions, the one that serves first, then its ancestors, to be taken in turn
            where those before cannot be used. Empty for the base weights.
        since: when this was decided, ISO 8601, UTC.
    """

    line: tuple[str, ...] = ()
    since: str = ""


def pointer_bytes(folder: Path) -> bytes | None:
    """What the pointer's file holds; None where there is none that can be read."""
    try:
        return (folder / FILE).read_bytes()
    except OSError:
        return None


def parse_pointer(data: bytes | None) -> Pointer:
    """What the pointer says; the base weights where it is damaged, which is logged."""
    if data is None:
        return Pointer()
    try:
        content = json.loads(data)
        line, since = content["line"], content["since"]
        if not isinstance(since, str) or not isinstance(line, list):
            raise TypeError("entries of other types")
        if not all(isinstance(name, str) for name in line):
            raise TypeError("names that are no text")
        return Pointer(tuple(line), since)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        logger.error("%s is damaged, so the base weights serve: %r", FILE, error)
        return Pointer()


def write_pointer(folder: Path, pointer: Pointer) -> None:
    """Replace the pointer of a registry.

    Raises:
        OSError: the disk does not take it; the pointer is as it was.
    """
    data = (json.dumps(asdict(pointer), indent=2) + "\n").encode()
    write_whole(folder / FILE, data, folder / PART)

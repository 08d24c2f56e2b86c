"""The folder that is built: what lies where, and files that are there whole or not at all.

``images/``, ``masks/`` and the lists of files are the data set. ``.build/`` is what the builder
notes for itself: one file for each case that is done, cases that are being published, and the
report. It may name files of the archive and is not to be passed on.

Shared between processes: each case writes only files with its own name; `hold` keeps a second
builder out.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib.data.sa_med2d import IMAGES, MASKS
from lib.errors import ImageError, UnavailableError

PRIVATE = ".build"
_DONE, _PUBLISHING = ".json", ".publishing"


@dataclass(frozen=True)
class CaseRecord:
    """What was built of a case.

    Attributes:
        key: data set and case.
        digest: of the files and the description it was built from.
        patient: salted hash.
        images: name of an image -> names of its masks, with endings.
        skipped: reason -> how many were left out.
        warnings: sentences.
    """

    key: str
    digest: str
    patient: str
    images: dict[str, list[str]]
    skipped: dict[str, int]
    warnings: list[str]

    @property
    def masks(self) -> int:
        """How many masks."""
        return sum(len(masks) for masks in self.images.values())


class BuildFolder:
    """Names in a folder that is built, and what may be done there.

    Args:
        path: the folder; made where it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.private = path / PRIVATE
        self.cases = self.private / "cases"
        for folder in (path / IMAGES, path / MASKS, self.cases):
            folder.mkdir(parents=True, exist_ok=True)

    def part(self, key: str) -> Path:
        """An empty folder in which this process writes a case."""
        folder = self._own(key)
        for name in (IMAGES, MASKS):
            (folder / name).mkdir(parents=True)
        return folder

    def scratch(self, key: str) -> Path:
        """A path for files that this process needs while it works on a case; nothing is there."""
        return self._own(f"{key}.files")

    def _own(self, name: str) -> Path:
        """A path among the parts that is this process's alone, on whatever machine."""
        path = self.private / "parts" / f"{name}.{socket.gethostname()}.{os.getpid()}"
        shutil.rmtree(path, ignore_errors=True)
        return path

    def record(self, key: str) -> CaseRecord | None:
        """What was built of a case; None where it is not done or its record is damaged."""
        return _read_record(self.cases / f"{key}{_DONE}")

    def publish(self, record: CaseRecord, part: Path) -> None:
        """Give the files of a case their place; after a kill the next build of it cleans up."""
        self.forget(record.key, keep=set(_names(record)))
        data = json.dumps(asdict(record), sort_keys=True).encode()
        note = self.cases / f"{record.key}{_PUBLISHING}"
        write_whole(note, data, part / "record")
        for name in _names(record):
            (part / name).replace(self.path / name)
        note.replace(self.cases / f"{record.key}{_DONE}")
        shutil.rmtree(part)

    def forget(self, key: str, keep: set[str] | None = None) -> None:
        """Remove the files of a case, and what is noted of it."""
        for ending in (_DONE, _PUBLISHING):
            path = self.cases / f"{key}{ending}"
            record = _read_record(path)
            for name in _names(record) if record else ():
                if name not in (keep or ()):
                    (self.path / name).unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def known(self) -> list[str]:
        """Keys of all cases that are done or begun, sorted."""
        return sorted({path.stem for path in self.cases.iterdir() if path.suffix})

    def clean(self) -> None:
        """Remove what killed processes left behind."""
        shutil.rmtree(self.private / "parts", ignore_errors=True)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other builders out.

        Raises:
            UnavailableError: one is at work here.
        """
        with (self.private / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UnavailableError(
                    got=f"{self.path}, into which another process builds",
                    allowed="one at a time",
                    todo="wait for it, or end it",
                ) from error
            yield


def write_whole(path: Path, data: bytes, part: Path) -> None:
    """Replace a file by one with other contents, written to `part` on the same disk first."""
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _names(record: CaseRecord) -> Iterator[str]:
    for image, masks in record.images.items():
        yield f"{IMAGES}/{image}"
        yield from (f"{MASKS}/{mask}" for mask in masks)


def _read_record(path: Path) -> CaseRecord | None:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return CaseRecord(**content)
    except (OSError, ValueError, TypeError):
        return None


def read_text(path: Path, what: str) -> str:
    """A small text file.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"{path} which cannot be read ({error})", what) from error

"""One case to build: where its files are, and what it is called in the data set."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from lib.data.builder.description import HEADER, Source
from lib.data.builder.naming import as_word, salted
from lib.errors import ImageError

FORMAT = 1
"""Changed whenever the same files would be built into something else."""


@dataclass(frozen=True)
class CaseTask:
    """One case to build.

    Attributes:
        source: where it is from.
        ids: class -> four digits, of its data set.
        name: as in the archive.
        word: as in the names of the built files.
        image: file, or folder with a DICOM series.
        labels: file -> what "{label}" stood for in its name (empty without it).
        salt: for what only the file itself says.
        warnings: sentences without names.
    """

    source: Source
    ids: Mapping[str, str]
    name: str
    word: str
    image: Path
    labels: Mapping[Path, str]
    salt: str
    warnings: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """A name for it among all cases of all data sets."""
        return f"{self.source.dataset}--{self.word}"

    @property
    def patient(self) -> str:
        """A salted hash; replaced later where the DICOM header says who it is."""
        text = self.name
        if self.source.patient and self.source.patient != HEADER:
            found = re.search(self.source.patient, self.name)
            if found is None or not found.group(1):
                raise ImageError(
                    got=f"case {self.name!r}, in which {self.source.patient!r} finds no patient",
                    allowed="a name with the patient in it",
                    todo="correct 'patient', or rename the case",
                )
            text = found.group(1)
        return salted(f"{self.source.dataset}:{text}", self.salt)

    def digest(self) -> str:
        """Changes where the files or the description change."""
        whole = hashlib.sha256(f"{FORMAT} {self.source} {sorted(self.ids.items())}".encode())
        whole.update(salted(self.name, self.salt).encode())
        for path in _files([*self.labels, self.image]):
            known = path.stat()
            whole.update(f"{path.name}\0{known.st_size}\0{known.st_mtime_ns}\n".encode())
        return whole.hexdigest()

    def at_hand(self, folder: Path) -> AbstractContextManager[CaseTask]:
        """The case with its files on this machine; `folder` may be made for them, and goes."""
        return nullcontext(self)


def word_of(name: str, source: Source, salt: str) -> str:
    """What a case is called in the names of files."""
    if source.names == "keep":
        return as_word(name)
    return salted(f"case:{source.dataset}:{name}", salt)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in sorted(paths):
        if path.is_dir():
            yield from sorted(file for file in path.iterdir() if file.is_file())
        elif path.exists():
            yield path

"""The cases of the sources, found by the names of files; nothing is opened.

What a case is called inside the built data set, and whose it is, is settled here; the names of its
files stay on this machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.data.build.description import CASE, HEADER, LABEL, Source
from lib.data.build.naming import as_word, salted
from lib.errors import ImageError, OptionError

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
    """

    source: Source
    ids: Mapping[str, str]
    name: str
    word: str
    image: Path
    labels: Mapping[Path, str]
    salt: str

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


def find_cases(
    sources: Sequence[Source], ids: Mapping[str, Mapping[str, str]], salt: str
) -> tuple[CaseTask, ...]:
    """All cases that lie in folders, in the order of sources and names.

    Args:
        sources: of the description.
        ids: {data set: {class: id}}.
        salt: for hashes of names.

    Raises:
        OptionError: a source without cases, or two cases whose names become the same.
    """
    found = []
    for source in sources:
        cases = list(_cases(source, ids[source.dataset], salt))
        if not cases:
            raise OptionError(
                got=f"no {source.images} in {source.root}",
                allowed=f"files of data set {source.dataset}",
                todo="correct 'root' and 'images'",
            )
        found += cases
    keys = [case.key for case in found]
    twice = sorted({key for key in keys if keys.count(key) > 1}) if _repeats(keys) else []
    if twice:
        raise OptionError(
            got=f"several cases that would be named {', '.join(twice[:3])}",
            allowed="names that differ in letters, digits, _ and -",
            todo="rename them, or use names: hash",
        )
    return tuple(found)


def word_of(name: str, source: Source, salt: str) -> str:
    """What a case is called in the names of files."""
    if source.names == "keep":
        return as_word(name)
    return salted(f"case:{source.dataset}:{name}", salt)


def _repeats(keys: Sequence[str]) -> bool:
    return len(set(keys)) < len(keys)


def _cases(source: Source, ids: Mapping[str, str], salt: str) -> Iterator[CaseTask]:
    root = Path(source.root)
    pattern = _expression(source.images)
    for path in sorted(root.glob(_wild(source.images))):
        match = pattern.fullmatch(path.relative_to(root).as_posix())
        if match is None or any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        name = match["case"]
        labels = dict(_labels(source, root, name)) if source.labels else {}
        if path in labels:
            continue
        word = word_of(name, source, salt)
        yield CaseTask(source, ids, name, word, path, labels, salt)


def _labels(source: Source, root: Path, case: str) -> Iterator[tuple[Path, str]]:
    """Label files of a case; the one that is named without "{label}" even where it is missing."""
    named = source.labels.replace(CASE, case)
    if LABEL not in source.labels:
        yield root / named, ""
        return
    escaped = re.sub(r"([\[*?])", r"[\1]", case)
    pattern = _expression(source.labels)
    for path in sorted(root.glob(source.labels.replace(CASE, escaped).replace(LABEL, "*"))):
        match = pattern.fullmatch(path.relative_to(root).as_posix())
        if match and match["case"] == case:
            yield path, match["label"]


def _wild(pattern: str) -> str:
    return pattern.replace(CASE, "*")


def _expression(pattern: str) -> re.Pattern[str]:
    """What a path must look like; a name that is there twice is the same both times."""
    text, seen = "", set()
    for part in re.split(r"(\{case\}|\{label\}|\*)", pattern):
        if part in (CASE, LABEL):
            name = part[1:-1]
            text += f"(?P={name})" if part in seen else f"(?P<{name}>[^/]+)"
            seen.add(part)
        else:
            text += "[^/]*" if part == "*" else re.escape(part)
    return re.compile(text)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in sorted(paths):
        if path.is_dir():
            yield from sorted(file for file in path.iterdir() if file.is_file())
        elif path.exists():
            yield path

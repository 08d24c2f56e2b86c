"""The cases of the sources, found by the names of files or the index of a PACS.

What a case is called inside the built data set, and whose it is, is settled here; the names of its
files stay on this machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lib.data.builder.case_task import CaseTask, word_of
from lib.data.builder.description import CASE, LABEL, PACS, Source
from lib.data.builder.pacs import pacs_cases
from lib.errors import OptionError


def find_cases(
    sources: Sequence[Source], ids: Mapping[str, Mapping[str, str]], salt: str
) -> tuple[CaseTask, ...]:
    """All cases, in the order of sources and names.

    Args:
        sources: of the description.
        ids: {data set: {class: id}}.
        salt: for hashes of names.

    Raises:
        OptionError: a source without cases, or two cases whose names become the same.
        UnavailableError: a PACS that does not answer.
    """
    found: list[CaseTask] = []
    for source in sources:
        find = pacs_cases if source.kind == PACS else _cases
        cases = list(find(source, ids[source.dataset], salt))
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

"""Results as they come, so that a killed run goes on where it was.

``progress.jsonl`` begins with a line that names all that results depend on; each further one holds
the rows of a target, or says that all of a file was measured. A line that was cut off by a kill is
dropped, and so is everything where the first line is another one. One process writes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from lib.data.case_files import LeftOut
from scripts._evaluation.rows import Row, row_from_json, row_to_json

FILE = "progress.jsonl"
DIGEST = "digest"


@dataclass(frozen=True)
class FileDone:
    """A file of which nothing is left to do.

    Attributes:
        name: of the file.
        targets: it has, also those that were not wanted.
        left_out: what could not be used.
    """

    name: str
    targets: int
    left_out: tuple[LeftOut, ...]


@dataclass
class Journal:
    """What was measured before and what is measured now.

    Attributes:
        rows: by key of the target.
        files: by name.
        sentence: what happened to earlier results; empty where there were none.
    """

    rows: dict[str, tuple[Row, ...]] = field(default_factory=dict)
    files: dict[str, FileDone] = field(default_factory=dict)
    sentence: str = ""
    _file: TextIO | None = None

    def add_rows(self, rows: Sequence[Row]) -> None:
        """All rows of one target."""
        self.rows[rows[0].target.key] = tuple(rows)
        self._write({"rows": [row_to_json(row) for row in rows]})

    def add_file(self, done: FileDone) -> None:
        """A file is done."""
        self.files[done.name] = done
        self._write({"file": asdict(done)})

    def close(self) -> None:
        """No more will come."""
        if self._file is not None:
            self._file.close()

    def _write(self, content: Mapping[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(content) + "\n")
        self._file.flush()


def open_journal(folder: Path, depends_on: Mapping[str, str]) -> Journal:
    """Go on with the results in a folder, or begin anew where they are of something else.

    Args:
        folder: made where it is missing.
        depends_on: everything that changes results: settings, weights, data, program.

    Raises:
        OSError: the folder does not take files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    head = {DIGEST: _digest(depends_on), "of": dict(depends_on)}
    lines = _whole_lines(path)
    journal = Journal()
    if lines and lines[0].get(DIGEST) == head[DIGEST]:
        _take_over(journal, lines[1:])
        journal.sentence = f"going on: {len(journal.rows)} targets were measured before"
    else:
        if lines:
            journal.sentence = f"starting anew: {_changed(lines[0], depends_on)}"
        lines = [head]
    with path.open("w", encoding="utf-8") as file:  # without what was cut off
        file.writelines(json.dumps(line) + "\n" for line in lines)
    journal._file = path.open("a", encoding="utf-8")
    return journal


def _digest(depends_on: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """All lines up to the first one that is damaged."""
    lines: list[dict[str, Any]] = []
    if not path.is_file():
        return lines
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            break
        if not isinstance(content, dict):
            break
        lines.append(content)
    return lines


def _take_over(journal: Journal, lines: list[dict[str, Any]]) -> None:
    for line in lines:
        if "rows" in line:
            rows = tuple(row_from_json(content) for content in line["rows"])
            journal.rows[rows[0].target.key] = rows
        elif "file" in line:
            content = line["file"]
            left_out = tuple(LeftOut(**item) for item in content["left_out"])
            done = FileDone(content["name"], content["targets"], left_out)
            journal.files[done.name] = done


def _changed(head: Mapping[str, Any], depends_on: Mapping[str, str]) -> str:
    """Which of the things that results depend on are others than before."""
    before = head.get("of")
    if not isinstance(before, dict):
        return "the earlier results are damaged"
    names = [name for name in depends_on if before.get(name) != depends_on[name]]
    names += [name for name in before if name not in depends_on]
    return f"not the same as before: {', '.join(names)}"

"""What happened to a server, a line for each event, so that a run can go on where it was ended.

An event is written when all that it may have harmed has been looked at. What a run was doing when
it was ended itself is not in the file, and does not count.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Event:
    """One event and what was seen after it.

    Attributes:
        kind: what happened.
        store: where labels were kept: "folder" or "PACS".
        saved: labels that were acknowledged since the event before.
        compared: labels that stood afterwards and were compared voxel by voxel.
        lost: requests without an answer since then.
        busy: requests that were refused for a while since then.
        serving: version of the network that would be loaded now.
        problems: sentences on what went wrong.
    """

    kind: str
    store: str
    saved: int
    compared: int
    lost: int
    busy: int
    serving: str
    problems: tuple[str, ...] = ()


class Diary:
    """Events of all runs that used this file; of this run alone where there is no file.

    Args:
        path: a file of JSON lines, or None. A last line that was not written to its end is none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.events: list[Event] = []
        if path is not None and path.is_file():
            whole = path.read_bytes().rpartition(b"\n")[0]
            path.write_bytes(whole + b"\n" if whole else b"")
            self.events = [_parsed(line) for line in whole.splitlines()]

    def add(self, event: Event) -> None:
        """Write down an event; on the disk when this returns."""
        self.events.append(event)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(event)) + "\n")
                file.flush()
                os.fsync(file.fileno())

    @property
    def problems(self) -> list[str]:
        """All that went wrong, in turn."""
        return [problem for event in self.events for problem in event.problems]


def summary(events: Iterable[Event]) -> str:
    """A table: kinds of events, and what was seen after them."""
    rows: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        rows.setdefault((event.store, event.kind), []).append(event)
    lines = ["store   event              times  saved  compared  no answer  refused  problems"]
    for (store, kind), found in sorted(rows.items()):
        numbers = [
            len(found),
            *(sum(getattr(one, name) for one in found) for name in ("saved", "compared")),
            *(sum(getattr(one, name) for one in found) for name in ("lost", "busy")),
            sum(len(one.problems) for one in found),
        ]
        widths = (5, 6, 9, 10, 8, 9)
        columns = " ".join(f"{n:>{width}}" for n, width in zip(numbers, widths, strict=True))
        lines.append(f"{store:<7} {kind:<18} {columns}")
    return "\n".join(lines)


def _parsed(line: bytes) -> Event:
    facts = json.loads(line)
    return Event(**{**facts, "problems": tuple(facts["problems"])})

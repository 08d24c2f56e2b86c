"""What was measured of one object, on the disk and as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median

from lib.errors import OptionError
from lib.training.durable import write_whole

SHOWN = (1, 3, 5, 10)
"""Numbers of prompts after which the table shows the Dice."""
ENOUGH = 0.85
"""Dice from which on an object counts as done."""


@dataclass(frozen=True)
class Row:
    """One object segmented with one model.

    Attributes:
        model: as it is served.
        version: of its network.
        case, object: which.
        voxels: of the object.
        dice: after each prompt; the last one stays where nothing was left to correct.
        seconds: for the answer to each prompt; the first one encodes.
        memory_mib: most that the process had resident so far; None where the system does not tell.
    """

    model: str
    version: str
    case: str
    object: str
    voxels: int
    dice: tuple[float, ...]
    seconds: tuple[float, ...]
    memory_mib: float | None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What is measured once only."""
        return self.model, self.version, self.case, self.object

    def after(self, prompts: int) -> float:
        """Dice after so many prompts."""
        return self.dice[min(prompts, len(self.dice)) - 1]

    def prompts_until(self, dice: float) -> int | None:
        """Prompts until a Dice was reached; None where it never was."""
        return next((n for n, found in enumerate(self.dice, start=1) if found >= dice), None)


def read_rows(path: Path) -> list[Row]:
    """The rows of an earlier run; none where there was none.

    Raises:
        OptionError: a file that is none of ours.
    """
    if not path.is_file():
        return []
    try:
        found = json.loads(path.read_text())["rows"]
        return [
            Row(**{**row, "dice": tuple(row["dice"]), "seconds": tuple(row["seconds"])})
            for row in found
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise OptionError(
            got=f"{path.name}, which is no result of compare.py ({error})",
            todo="name another file, or remove it",
        ) from error


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows, whole or not at all."""
    text = json.dumps({"rows": [asdict(row) for row in rows]}, indent=1)
    write_whole(path, text.encode(), path.with_name(path.name + ".part"))


def markdown(rows: Sequence[Row]) -> str:
    """A table of models, and one of objects."""
    models = list(dict.fromkeys(row.model for row in rows))
    heads = [f"Dice, {n}" for n in SHOWN]
    lines = [
        _line(["model", "version", *heads, f"prompts to {ENOUGH}", "first, s", "next, s", "MiB"]),
        _line(["---"] * (len(SHOWN) + 6)),
    ]
    for model in models:
        own = [row for row in rows if row.model == model]
        counts = [count for row in own if (count := row.prompts_until(ENOUGH)) is not None]
        reached = f"{len(counts)} of {len(own)}" + (
            f", median {median(counts):g}" if counts else ""
        )
        further = [second for row in own for second in row.seconds[1:]]
        memory = [row.memory_mib for row in own if row.memory_mib is not None]
        lines.append(
            _line(
                [
                    f"`{model}`",
                    f"`{own[0].version}`",
                    *(f"{mean(row.after(n) for row in own):.3f}" for n in SHOWN),
                    reached,
                    f"{median(row.seconds[0] for row in own):.2f}",
                    f"{median(further):.2f}" if further else "",
                    f"{max(memory):.0f}" if memory else "",
                ]
            )
        )
    lines += ["", _line(["object", "voxels", *(f"`{m}`: 1, 5, 10" for m in models)])]
    lines.append(_line(["---"] * (2 + len(models))))
    for case, name in dict.fromkeys((row.case, row.object) for row in rows):
        found = {row.model: row for row in rows if (row.case, row.object) == (case, name)}
        cells = [
            ", ".join(f"{found[m].after(n):.2f}" for n in (1, 5, 10)) if m in found else ""
            for m in models
        ]
        voxels = next(iter(found.values())).voxels
        lines.append(_line([f"{case}, {name}", str(voxels), *cells]))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"

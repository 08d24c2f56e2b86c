"""What the ablations share: figures in a file, one entry for each training, and a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PROMPTS = ("box", "1", "3", "5")


def read_found(path: Path) -> dict[str, Any]:
    """What an earlier call measured; nothing where there is no file yet."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_found(path: Path, found: Mapping[str, Any]) -> None:
    """Write what was measured so far, complete or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(found, indent=1), encoding="utf-8")
    part.replace(path)


def table_of(groups: Mapping[str, Sequence[Mapping[str, float]]], first: str = "variant") -> str:
    """Markdown: a row for each group, the mean Dice of its trainings by prompt.

    Args:
        groups: name -> Dice by prompt, of each training; empty groups are left out.
        first: heading of the names.
    """
    lines = [f"| {first} | n | " + " | ".join(f"Dice {name}" for name in PROMPTS) + " |"]
    lines.append("|---" * (2 + len(PROMPTS)) + "|")
    for name, rows in groups.items():
        if rows:
            means = " | ".join(f"{np.mean([row[p] for row in rows]):.3f}" for p in PROMPTS)
            lines.append(f"| {name} | {len(rows)} | {means} |")
    return "\n".join(lines)

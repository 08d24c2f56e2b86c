"""The report of a run: a page to read (report.html), its pictures, and its numbers (report.json).

The folder appears under its name when all of it is there.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lib.errors import TrainingError
from lib.networks.architectures import find_architecture
from lib.training.durable import move_whole
from lib.training.report_cases import worst_figure
from lib.training.report_data import (
    ReportData,
    Row,
    label_rows,
    mean_row,
    prompt_rows,
    worst_cases,
)
from lib.training.report_figures import clicks_figure, epochs_figure, labels_figure, save_png
from lib.training.report_page import page
from lib.training.validation import Summary

__all__ = ["ReportData", "write_report"]

PAGE, NUMBERS = "report.html", "report.json"


def write_report(folder: Path, data: ReportData) -> None:
    """Write the report in place of one that is there.

    Args:
        folder: gets the name when everything is written.
        data: of the run.

    Raises:
        TrainingError: the disk does not take it.
    """
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        pictures = dict(_pictures(part, data))
        (part / PAGE).write_text(page(data, pictures), encoding="utf-8")
        (part / NUMBERS).write_text(numbers(data), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        move_whole(part, folder)
    except OSError as error:
        raise TrainingError(
            got=f"a report that cannot be written to {folder} ({error})",
            allowed="a folder with some megabytes of room",
            todo="make room, or give the server the right to write there",
        ) from error


def numbers(data: ReportData) -> str:
    """All figures as JSON; one that is no number becomes null."""
    scores = zip(data.before, data.after, strict=True)
    content = {
        "run": data.run,
        "architecture": data.architecture,
        "recipe": data.recipe,
        "part": data.part,
        "part_reason": data.part_reason,
        "created": data.created,
        "seconds": data.seconds,
        "training_slices": len(data.split.training),
        "validation_slices": len(data.split.validation),
        "held_out": data.split.level,
        "gate": dict(data.verdict.facts),
        "published": data.published,
        "before": asdict(Summary.of(data.before)),
        "after": asdict(Summary.of(data.after)),
        "prompts": [asdict(row) for row in prompt_rows(data.before, data.after)],
        "mean": _optional(mean_row("mean", data.before, data.after)),
        "phantoms": _optional(mean_row("phantoms", data.anchors_before, data.anchors_after)),
        "labels": [asdict(row) for row in label_rows(data.before, data.after)],
        "objects": [
            {
                "image": new.image,
                "target": new.target,
                "label": new.label,
                "before": dict(old.dice),
                "after": dict(new.dice),
            }
            for old, new in scores
        ],
        "history": [asdict(record) for record in data.history],
        "best_epoch": data.best_epoch,
        "skipped": [asdict(skipped) for skipped in data.skipped],
        "versions": dict(data.versions),
        "settings": dict(data.settings),
    }
    return json.dumps(_finite(content), indent=1, allow_nan=False, default=str) + "\n"


def _pictures(folder: Path, data: ReportData) -> Iterator[tuple[str, Path]]:
    """Draw what there is to draw; title and file of each picture."""
    if data.after:
        path = folder / "dice_by_clicks.png"
        save_png(clicks_figure(prompt_rows(data.before, data.after)), path)
        yield "Dice against clicks", path
    if data.history:
        path = folder / "epochs.png"
        save_png(epochs_figure(data.history, data.best_epoch), path)
        yield "Loss and Dice by epoch", path
    if data.after:
        path = folder / "labels.png"
        save_png(labels_figure(label_rows(data.before, data.after)), path)
        yield "Labels", path
    cases = worst_cases(data)
    if cases:
        path = folder / "worst_cases.png"
        save_png(worst_figure(cases, find_architecture(data.architecture).intensity), path)
        yield "Hardest objects after one click", path


def _optional(row: Row | None) -> dict[str, Any] | None:
    return None if row is None else asdict(row)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

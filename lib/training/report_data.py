"""What a report is made of, and the tables that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lib.data.labelled_slices import Skipped
from lib.data.pool import LabelledImage
from lib.data.split import Split
from lib.training.bootstrap import Interval, mean_intervals
from lib.training.evaluate import BOX
from lib.training.gate import Verdict
from lib.training.progress import EpochRecord
from lib.training.validation import CLICKS, TargetScore

WORST = 6
"""Objects that are shown."""

Scores = Sequence[TargetScore]
Table = NDArray[np.float64]


@dataclass(frozen=True)
class ReportData:
    """Everything that is known at the end of a run.

    Attributes:
        run: its name.
        architecture: of the network.
        recipe: name of the recipe.
        part: what learned, see `lib.training.recipe.PARTS`.
        part_reason: why, as a clause.
        split: the labelled slices.
        skipped: what was left out of them before.
        before: scores of the serving network on the held-out objects.
        after: scores of the trained one on the same objects.
        anchors_before, anchors_after: the same on phantoms.
        verdict: of the gate.
        published: whether the trained network is to serve.
        history: one record for each validation, the serving network's first.
        best_epoch: whose weights were judged.
        seconds: of training, over all sittings.
        created: when, ISO 8601, UTC.
        versions: what -> version: the network that served, this project, its libraries.
        settings: name -> value, as chosen.
    """

    run: str
    architecture: str
    recipe: str
    part: str
    part_reason: str
    split: Split[LabelledImage]
    skipped: tuple[Skipped, ...]
    before: tuple[TargetScore, ...]
    after: tuple[TargetScore, ...]
    anchors_before: tuple[TargetScore, ...]
    anchors_after: tuple[TargetScore, ...]
    verdict: Verdict
    published: bool
    history: tuple[EpochRecord, ...]
    best_epoch: int
    seconds: float
    created: str
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One line of a comparison.

    Attributes:
        name: of a prompt or a label.
        n_targets: objects.
        before, after, difference: mean Dice.
    """

    name: str
    n_targets: int
    before: Interval
    after: Interval
    difference: Interval


@dataclass(frozen=True)
class WorstCase:
    """An object that the trained network finds hard.

    Attributes:
        image: it lies on.
        before, after: its scores.
    """

    image: LabelledImage
    before: TargetScore
    after: TargetScore


def prompt_rows(before: Scores, after: Scores) -> list[Row]:
    """Means by prompt: the box where it was scored, and each number of clicks up to five."""
    if not after:
        return []
    names = [str(count) for count in range(1, CLICKS + 1)]
    names = [BOX, *names] if BOX in after[0].dice else names
    return _rows(names, _prompts(before), _prompts(after), after)


def mean_row(name: str, before: Scores, after: Scores) -> Row | None:
    """The mean over the scored prompts, what the gate goes by; None where there is no object."""
    if not after:
        return None
    return _rows([name], _means(before), _means(after), after)[0]


def label_rows(before: Scores, after: Scores) -> list[Row]:
    """Means over the scored prompts by label, the most frequent label first."""
    labels = sorted({score.label for score in after})
    rows = []
    for label in labels:
        chosen = [number for number, score in enumerate(after) if score.label == label]
        row = mean_row(label, [before[n] for n in chosen], [after[n] for n in chosen])
        assert row is not None
        rows.append(row)
    return sorted(rows, key=lambda row: (-row.n_targets, row.name))


def worst_cases(data: ReportData, count: int = WORST) -> list[WorstCase]:
    """Objects with the lowest Dice after one click, of those whose masks were kept; worst first."""
    images = {image.name: image for image in data.split.validation}
    pairs = [
        (old, new)
        for old, new in zip(data.before, data.after, strict=True)
        if old.mask is not None and new.mask is not None and new.image in images
    ]
    ordered = sorted(pairs, key=lambda pair: (pair[1].by_clicks[:1], pair[1].key))
    return [WorstCase(images[new.image], old, new) for old, new in ordered[:count]]


def _prompts(scores: Scores) -> Table:
    return np.array(
        [[*(s.dice[name] for name in (BOX,) if name in s.dice), *s.by_clicks] for s in scores]
    )


def _means(scores: Scores) -> Table:
    return np.array([[score.mean] for score in scores])


def _rows(names: Sequence[str], before: Table, after: Table, scores: Scores) -> list[Row]:
    """A row for each column of two tables with a line for each object."""
    patients = [score.patient for score in scores]
    columns = [mean_intervals(table, patients) for table in (before, after, after - before)]
    return [
        Row(name, len(scores), *intervals)
        for name, intervals in zip(names, zip(*columns, strict=True), strict=True)
    ]

"""What rows amount to: means with intervals, for groups of targets in one setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.training.bootstrap import Interval, mean_intervals
from lib.training.evaluate import size_class, size_names
from scripts._evaluation.rows import WITHOUT_NETWORK, Row, Setting

GOALS = (85, 90)
"""IoU in percent for which clicks are counted."""
MEASURES = ("dice", "iou", "nsd")


@dataclass(frozen=True)
class Counting:
    """What is counted.

    Attributes:
        names: of the prompts.
        clicks: after which Dice is known of every target: 1, 2, ... so many.
        most: clicks until the user gives up; 0 where clicks are not counted.
    """

    names: tuple[str, ...]
    clicks: int
    most: int


@dataclass(frozen=True)
class Figures:
    """A group of targets in one setting.

    Attributes:
        n_masks, n_patients: how many of each.
        dice, iou, nsd: by prompt.
        noc: by percent of IoU, mean number of clicks; empty where not counted.
        by_click: mean Dice after 1, 2, ... clicks.
        reached: by percent of IoU, the share of targets that have it after 1, 2, ... clicks.
        seconds: of an answer, by prompt.
        zoomed: share of answers from a part of the image, by prompt.
        encode_seconds: of an image.
        same: mean agreement with the first precision, by prompt; empty where there is none.
        least_same: the smallest one.
    """

    n_masks: int
    n_patients: int
    dice: Mapping[str, Interval]
    iou: Mapping[str, Interval]
    nsd: Mapping[str, Interval]
    noc: Mapping[int, Interval]
    by_click: tuple[float, ...]
    reached: Mapping[int, tuple[float, ...]]
    seconds: Mapping[str, float]
    zoomed: Mapping[str, float]
    encode_seconds: float
    same: Mapping[str, float]
    least_same: Mapping[str, float]


@dataclass(frozen=True)
class SettingFigures:
    """A setting: all targets, and groups of them.

    Attributes:
        setting: how.
        whole: all targets.
        sizes: by class of size, smallest first, those that occur.
        modalities: by name, in the alphabet's order.
        rows: that it was made from.
    """

    setting: Setting
    whole: Figures
    sizes: Mapping[str, Figures]
    modalities: Mapping[str, Figures]
    rows: tuple[Row, ...]


def summarise(rows: Sequence[Row], counting: Counting) -> list[SettingFigures]:
    """All settings in their order, the one without network last."""
    order = dict.fromkeys(row.setting for row in rows)
    return [
        _setting(setting, [row for row in rows if row.setting == setting], counting)
        for setting in sorted(order, key=WITHOUT_NETWORK.__eq__)
    ]


def _setting(setting: Setting, rows: Sequence[Row], counting: Counting) -> SettingFigures:
    sizes = _grouped(rows, lambda row: size_class(row.target.side), size_names())
    modalities = _grouped(
        rows, lambda row: row.target.modality, sorted({row.target.modality for row in rows})
    )
    return SettingFigures(
        setting=setting,
        whole=figures(rows, counting),
        sizes={name: figures(part, counting) for name, part in sizes.items()},
        modalities={name: figures(part, counting) for name, part in modalities.items()},
        rows=tuple(rows),
    )


def _grouped(
    rows: Sequence[Row], name_of: Callable[[Row], str], names: Iterable[str]
) -> dict[str, list[Row]]:
    groups = {name: [row for row in rows if name_of(row) == name] for name in names}
    return {name: group for name, group in groups.items() if group}


def figures(rows: Sequence[Row], counting: Counting) -> Figures:
    """Of a group of at least one target in one setting."""
    names = counting.names
    means = _means(rows, counting)
    same = names if rows[0].same else ()
    return Figures(
        n_masks=len(rows),
        n_patients=len({row.target.patient for row in rows}),
        dice={name: means["dice", name] for name in names},
        iou={name: means["iou", name] for name in names},
        nsd={name: means["nsd", name] for name in names},
        noc={goal: means["noc", goal] for goal in GOALS if ("noc", goal) in means},
        by_click=_by_click(rows, counting),
        reached={goal: _reached(rows, goal, counting.most) for goal in GOALS},
        seconds={name: _mean(row.scores[name].seconds for row in rows) for name in names},
        zoomed={name: _mean(row.scores[name].zoomed for row in rows) for name in names},
        encode_seconds=_mean(row.encode_seconds for row in rows),
        same={name: _mean(row.same[name] for row in rows) for name in same},
        least_same={name: min(row.same[name] for row in rows) for name in same},
    )


def _means(rows: Sequence[Row], counting: Counting) -> dict[tuple[str, Any], Interval]:
    """All means with intervals, from the same draws of patients."""
    columns: dict[tuple[str, Any], list[float]] = {
        (measure, name): [float(getattr(row.scores[name], measure)) for row in rows]
        for measure in MEASURES
        for name in counting.names
    }
    if counting.most and rows[0].by_click:
        for goal in GOALS:
            clicks = [row.clicks_until(goal / 100, counting.most) for row in rows]
            columns["noc", goal] = [float(count) for count in clicks]
    patients = [row.target.patient for row in rows]
    values = np.array(list(columns.values()), dtype=np.float64).T
    return dict(zip(columns, mean_intervals(values, patients), strict=True))


def _by_click(rows: Sequence[Row], counting: Counting) -> tuple[float, ...]:
    if not rows[0].by_click:
        return ()
    return tuple(
        _mean(row.by_click[number][0] for row in rows) for number in range(counting.clicks)
    )


def _reached(rows: Sequence[Row], goal: int, most: int) -> tuple[float, ...]:
    if not most or not rows[0].by_click:
        return ()
    needed = np.array([row.clicks_until(goal / 100, most + 1) for row in rows])
    return tuple(float((needed <= count).mean()) for count in range(1, most + 1))


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))

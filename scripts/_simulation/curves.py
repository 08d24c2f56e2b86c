"""Learning curves compared: areas, labels and clicks until 95 %, intervals, a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

RESAMPLES = 2000
SHARE = 0.95

Curve = Sequence[Mapping[str, Any]]
"""Records of `scripts._simulation.run.Point`, in the order of a run."""


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval, over seeds drawn with replacement."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


def mean_dice(point: Mapping[str, Any]) -> float:
    """Mean Dice over the prompts."""
    return float(np.mean(list(point["dice"].values())))


def area(curve: Curve) -> float:
    """Mean height of a curve of Dice over labelled slices."""
    x = np.array([point["labelled"] for point in curve], dtype=float)
    y = np.array([mean_dice(point) for point in curve])
    if len(x) < 2 or x[-1] == x[0]:
        return float(y.mean())
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum() / (x[-1] - x[0]))


def gain_area(curve: Curve) -> float:
    """The same of what was gained over the start, which all strategies share."""
    return area(curve) - mean_dice(curve[0])


def needed(curve: Curve, key: str, goal: float) -> float:
    """Labels or clicks until the Dice reaches a goal for the first time; infinite where never.

    Args:
        curve: of one run.
        key: "labelled" or "clicks".
        goal: mean Dice.
    """
    return next((float(p[key]) for p in curve if mean_dice(p) >= goal), float("inf"))


def interval(values: Sequence[float], seed: int = 0) -> Interval:
    """Mean of some values and its interval; values that are not finite are left out."""
    kept = np.array([value for value in values if np.isfinite(value)])
    if not len(kept):
        nan = float("nan")
        return Interval(nan, nan, nan)
    rng = np.random.default_rng(seed)
    means = kept[rng.integers(len(kept), size=(RESAMPLES, len(kept)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(kept.mean()), float(low), float(high))


def compare(curves: Mapping[str, Sequence[Curve]], baseline: str) -> list[str]:
    """A table in Markdown: every strategy, and its ratios to a baseline seed by seed.

    Args:
        curves: strategy -> one curve for each seed, the same seeds in the same order.
        baseline: a strategy.
    """
    lines = [
        f"| strategy | seeds | mean Dice | last Dice | area / {baseline} | gain - {baseline} | "
        f"clicks / {baseline} until {SHARE:.0%} |",
        "|---|---|---|---|---|---|---|",
    ]
    goals = [SHARE * mean_dice(curve[-1]) for curve in curves[baseline]]
    for name, runs in curves.items():
        base = curves[baseline]
        pairs = list(zip(runs, base, goals, strict=True))
        ratio = interval([area(run) / area(other) for run, other, _ in pairs])
        gain = interval([gain_area(run) - gain_area(other) for run, other, _ in pairs])
        clicks = interval(
            [
                _ratio(needed(run, "clicks", g), needed(other, "clicks", g))
                for run, other, g in pairs
            ]
        )
        lines.append(
            f"| {name} | {len(runs)} | {interval([area(run) for run in runs])} | "
            f"{interval([mean_dice(run[-1]) for run in runs])} | {ratio} | {gain} | {clicks} |"
        )
    return lines


def draw(curves: Mapping[str, Sequence[Curve]], title: str, path: Path) -> None:
    """Mean Dice over labelled slices, and over clicks, each seed thin and their mean thick."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharey=True)
    for number, (name, runs) in enumerate(curves.items()):
        colour = f"C{number}"
        for axis, key in zip(axes, ("labelled", "clicks"), strict=True):
            for run in runs:
                x = [point[key] for point in run]
                axis.plot(x, [mean_dice(p) for p in run], color=colour, alpha=0.25, linewidth=0.8)
            shortest = min(map(len, runs))
            x = np.mean([[p[key] for p in run[:shortest]] for run in runs], axis=0)
            y = np.mean([[mean_dice(p) for p in run[:shortest]] for run in runs], axis=0)
            axis.plot(x, y, color=colour, linewidth=2, marker="o", label=name)
    for axis, text in zip(axes, ("labelled slices", "clicks"), strict=True):
        axis.set_xlabel(text)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("mean Dice of the test images")
    axes[0].legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=120)


def _ratio(value: float, other: float) -> float:
    if other == 0:
        return 1.0 if value == 0 else float("inf")
    return value / other

"""Figures of a report: PNG, 800 pixels wide, with colours that colour-blind people tell apart.

Drawn through matplotlib's objects, without pyplot, which keeps a global list of figures. Before is
always orange, dashed, with squares; after is blue, solid, with discs (palette: Okabe and Ito 2008).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lib.training.bootstrap import Interval
from lib.training.evaluate import BOX
from lib.training.progress import EpochRecord
from lib.training.report_data import Row

WIDTH = 8.0
DPI = 100
BEFORE, AFTER, GREY = "#D55E00", "#0072B2", "#666666"
PROMPT_STYLES = (("#000000", "s"), ("#D55E00", "o"), ("#009E73", "^"), ("#0072B2", "D"))
LABELS = 20
"""Labels in the figure; all of them are in the table."""
NAME_LENGTH = 28
LEAST_SPAN = 0.2
"""Of Dice along an axis, so that small differences look small."""
ABOVE = (0.5, 1.0)
"""Where the lower centre of a legend lies."""
SHIFT = 0.06


def clicks_figure(rows: Sequence[Row]) -> Figure:
    """Mean Dice after the box and after each click, before and after training."""
    figure, axes = _figure(4.2)
    places = np.arange(len(rows), dtype=np.float64)
    if rows[0].name == BOX:
        places[0] -= 0.4  # not joined to the clicks, which do not follow from it
    for old in (True, False):
        intervals = [row.before if old else row.after for row in rows]
        parts = (slice(0, 1), slice(1, None)) if rows[0].name == BOX else (slice(None),)
        for part in parts:
            _series(axes, places[part], intervals[part], old)
    axes.set_xticks(places, [prompt_name(row.name) for row in rows])
    axes.set_ylabel("mean Dice, 95 % interval")
    handles = [
        Line2D([], [], color=BEFORE, marker="s", linestyle="--", label="before"),
        Line2D([], [], color=AFTER, marker="o", label="after"),
    ]
    axes.legend(handles=handles, ncols=2, frameon=False, loc="lower center", bbox_to_anchor=ABOVE)
    return figure


def epochs_figure(history: Sequence[EpochRecord], best_epoch: int) -> Figure:
    """Loss, and Dice on the held-out objects, by epoch; epoch 0 is the serving network."""
    figure = Figure(figsize=(WIDTH, 5.6), dpi=DPI, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.6])
    epochs = [record.epoch for record in history]
    losses = [math.nan if record.loss is None else record.loss for record in history]
    upper.plot(epochs, losses, color=GREY, marker="o", markersize=4)
    upper.set_ylabel("loss")
    for (colour, marker), name in zip(PROMPT_STYLES, history[0].dice, strict=False):
        values = [record.dice.get(name, math.nan) for record in history]
        lower.plot(
            epochs, values, color=colour, marker=marker, markersize=5, label=prompt_name(name)
        )
    lower.set_ylabel("mean Dice")
    lower.set_xlabel("epoch (0: the network that serves)")
    for axes in (upper, lower):
        axes.axvline(best_epoch, color=GREY, linestyle=":", linewidth=1.5)
        _plain(axes)
    upper.annotate(
        f"best: epoch {best_epoch}",
        (best_epoch, 1.02),
        xycoords=("data", "axes fraction"),
        ha="center",
        color=GREY,
    )
    lower.xaxis.get_major_locator().set_params(integer=True)
    lower.legend(ncols=4, frameon=False, loc="lower center", bbox_to_anchor=ABOVE)
    return figure


def labels_figure(rows: Sequence[Row]) -> Figure:
    """Mean Dice of the most frequent labels, before and after."""
    shown = list(rows[:LABELS])
    figure, axes = _figure(1.4 + 0.42 * len(shown))
    places = np.arange(len(shown))[::-1]
    before = [row.before.mean for row in shown]
    after = [row.after.mean for row in shown]
    axes.hlines(places, before, after, color=GREY, linewidth=1.5, zorder=1)
    axes.scatter(before, places, color=BEFORE, marker="s", s=50, label="before", zorder=2)
    axes.scatter(after, places, color=AFTER, marker="o", s=50, label="after", zorder=3)
    names = [f"{printable(row.name)} ({row.n_targets})" for row in shown]
    axes.set_yticks(places, names, parse_math=False)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    low, high = min(before + after), max(before + after)
    room = max(0.02, (LEAST_SPAN - (high - low)) / 2)
    axes.set_xlim(low - room, high + room)
    axes.set_xlabel("mean Dice over all prompts; in brackets the number of objects")
    axes.legend(ncols=2, frameon=False, loc="lower center", bbox_to_anchor=ABOVE)
    return figure


def prompt_name(name: str) -> str:
    """A prompt in words: "box", "1 click", "3 clicks"."""
    return name if name == BOX else f"{name} click{'s' * (name != '1')}"


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure; the same figure gives the same bytes.

    Raises:
        OSError: the disk does not take it.
    """
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", metadata={"Software": None})


def printable(text: str, length: int = NAME_LENGTH) -> str:
    """A name as the font of the figures can show it, cut where it is long."""
    known = get_font(findfont(FontProperties())).get_charmap()
    shown = "".join(letter if ord(letter) in known else "?" for letter in " ".join(text.split()))
    return shown if len(shown) <= length else shown[: length - 3] + "..."


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    return figure, axes


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)


def _series(
    axes: Axes, places: NDArray[np.float64], intervals: Sequence[Interval], old: bool
) -> None:
    """Means with their intervals, a little beside the place, so that both sides can be seen."""
    means = np.array([interval.mean for interval in intervals])
    ends = np.array([[i.mean - i.low, i.high - i.mean] for i in intervals]).T.clip(0)
    axes.errorbar(
        places + (-SHIFT if old else SHIFT),
        means,
        ends,
        color=BEFORE if old else AFTER,
        marker="s" if old else "o",
        linestyle="--" if old else "-",
        markersize=7,
        capsize=4,
    )

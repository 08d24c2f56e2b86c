"""Figures of the report, with colours that colour-blind people tell apart (Okabe and Ito 2008)."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib.training.evaluate import BOX
from scripts._evaluation.output import Results
from scripts._evaluation.summary import SettingFigures

WIDTH, DPI = 8.0, 100
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
BASELINE = "#666666"
LEGEND = {"frameon": False, "loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "fontsize": 9}
BOX_PLACE = 0.0
"""Left of the clicks, and not joined to them, for they do not follow from it."""

Style = tuple[str, str, str]
"""Colour, marker and kind of line."""


def png_bytes(figure: Figure) -> bytes:
    """A figure as PNG; the same figure gives the same bytes."""
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def clicks_figure(results: Results) -> Figure:
    """Mean Dice after the box and after clicks, of all settings and of the baseline."""
    figure = Figure(figsize=(WIDTH, 4.0), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    for setting, style in _styles(results):
        _draw_clicks(axes, setting, style)
    names = [name for name in results.names if name != BOX]
    ticks = [*range(1, max(map(int, names), default=0) + 1)]
    shown = [BOX] if BOX in results.names else []
    axes.set_xticks([BOX_PLACE] * len(shown) + ticks, [*shown, *map(str, ticks)])
    axes.set_xlabel("clicks")
    axes.set_ylabel("mean Dice, 95 % interval")
    axes.legend(**LEGEND)
    return figure


def reached_figure(results: Results) -> Figure:
    """Which share of the targets has the IoU that is wanted, by clicks."""
    figure = Figure(figsize=(WIDTH, 3.6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    for setting, (colour, _, _) in _styles(results):
        for goal, shares in setting.whole.reached.items():
            line = "-" if goal == min(setting.whole.reached) else ":"
            label = f"{setting.setting.name}, IoU {goal / 100:.2f}"
            places = np.arange(1, len(shares) + 1)
            axes.plot(places, shares, color=colour, linestyle=line, label=label)
    axes.set_ylim(0, 1)
    axes.set_xlabel("clicks")
    axes.set_ylabel("share of targets")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(**LEGEND)
    return figure


def _styles(results: Results) -> list[tuple[SettingFigures, Style]]:
    looks = zip(results.settings, _cycle(COLOURS), _cycle(MARKERS), strict=False)
    styled = [(setting, (colour, marker, "-")) for setting, colour, marker in looks]
    return [*styled, (results.baseline, (BASELINE, "x", "--"))]


def _cycle(items: Sequence[str]) -> list[str]:
    return [items[number % len(items)] for number in range(100)]


def _draw_clicks(axes: Axes, setting: SettingFigures, style: Style) -> None:
    colour, marker, line = style
    part, label = setting.whole, setting.setting.name
    clicks = [name for name in part.dice if name != BOX]
    if part.by_click:
        places = np.arange(1, len(part.by_click) + 1)
        axes.plot(places, part.by_click, color=colour, linestyle=line)
    elif clicks:
        means = [part.dice[name].mean for name in clicks]
        axes.plot([int(name) for name in clicks], means, color=colour, linestyle=line)
    for name, interval in part.dice.items():
        ends = [[max(interval.mean - interval.low, 0)], [max(interval.high - interval.mean, 0)]]
        place = BOX_PLACE if name == BOX else int(name)
        axes.errorbar(
            place, interval.mean, ends, color=colour, marker=marker, capsize=4, label=label
        )
        label = None


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)

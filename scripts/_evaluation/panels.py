"""Pictures of single targets: image, truth, answers and the clicks that led to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from lib.inference.view import SliceView
from lib.prompts.simulate import FOREGROUND
from lib.training.evaluate import Answer
from lib.training.report_cases import square_around
from lib.training.report_figures import printable, prompt_name
from scripts._evaluation.run import Example

TRUTH, ANSWER, INSIDE, OUTSIDE = "#F0E442", "#56B4E9", "#009E73", "#D55E00"
WIDTH, DPI = 9.0, 100
COLUMNS = 4
"""The image with the truth, and the answers to three prompts."""


def panels_figure(examples: Sequence[Example], intensity: str) -> Figure:
    """A row for each target; yellow is the truth, blue the answer, crosses are clicks.

    Args:
        examples: at least one.
        intensity: how images are shown, as to the network.
    """
    side = WIDTH / COLUMNS
    figure = Figure(figsize=(WIDTH, len(examples) * side * 1.22), dpi=DPI, layout="constrained")
    grid = figure.subplots(len(examples), COLUMNS, squeeze=False)
    for line, example in zip(grid, examples, strict=True):
        _draw_row(line, example, intensity)
    return figure


def _draw_row(line: NDArray[np.object_], example: Example, intensity: str) -> None:
    image, target = example.image, example.row.target
    truth = image.masks[target.index]
    shown = _shown(example)
    window = square_around(np.any([truth, *(answer.mask for _, answer in shown)], axis=0))
    view = SliceView(image.image, intensity, image.modality).image8()
    for axes in line:
        axes.set_axis_off()
    _draw(line[0], view, window)
    _outline(line[0], truth, window, TRUTH)
    title = f"{printable(target.case, 20)}\n{printable(target.label, 20)}"
    line[0].set_title(title, fontsize=8, parse_math=False)
    for axes, (name, answer) in zip(line[1:], shown, strict=False):
        _draw(axes, view, window)
        _outline(axes, truth, window, TRUTH)
        _outline(axes, answer.mask, window, ANSWER)
        _prompts(axes, answer, window)
        axes.set_title(f"{prompt_name(name)}\nDice {answer.dice:.3f}", fontsize=8)


def _shown(example: Example) -> list[tuple[str, Answer]]:
    """The first two prompts and the last one."""
    answers = list(example.found.answers.items())
    return answers if len(answers) < COLUMNS else [*answers[:2], answers[-1]]


def _draw(axes: Axes, image: NDArray[np.uint8], window: tuple[slice, slice]) -> None:
    rows, columns = window
    edges = (columns.start - 0.5, columns.stop - 0.5, rows.stop - 0.5, rows.start - 0.5)
    axes.imshow(image[window], interpolation="nearest", extent=edges)


def _outline(axes: Axes, mask: NDArray[np.bool_], window: tuple[slice, slice], colour: str) -> None:
    part = mask[window]
    if part.any() and not part.all():
        rows, columns = window
        x, y = np.arange(columns.start, columns.stop), np.arange(rows.start, rows.stop)
        axes.contour(x, y, part, levels=[0.5], colors=colour, linewidths=1.6)


def _prompts(axes: Axes, answer: Answer, window: tuple[slice, slice]) -> None:
    rows, columns = window
    for (x, y), label in zip(answer.prompt.points, answer.prompt.labels, strict=True):
        kind = ("P", INSIDE) if label == FOREGROUND else ("X", OUTSIDE)
        axes.plot(x, y, kind[0], color=kind[1], markeredgecolor="white", markersize=7)
    if answer.prompt.box is not None:
        x0, y0, x1, y1 = answer.prompt.box
        corner = (x0 - 0.5, y0 - 0.5)
        axes.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, color="white"))
    axes.set_xlim(columns.start - 0.5, columns.stop - 0.5)
    axes.set_ylim(rows.stop - 0.5, rows.start - 0.5)

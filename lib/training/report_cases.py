"""The figure of a report that shows images: what the trained network finds hard."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lib.inference.view import SliceView
from lib.prompts.components import bounding_box
from lib.training.report_data import WorstCase
from lib.training.report_figures import DPI, WIDTH, printable

TRUTH, BEFORE, AFTER = "#F0E442", "#D55E00", "#56B4E9"
"""Blue is lighter than in the curves: images are dark."""
MARGIN = 0.35
"""Around an object that is shown, as a share of its size."""
SMALLEST_CROP = 48


def worst_figure(cases: Sequence[WorstCase], intensity: str) -> Figure:
    """Hard objects with the outlines of the truth and of the masks after one click.

    Args:
        cases: one to six.
        intensity: how images are shown, as to the network.
    """
    columns = min(3, len(cases))
    lines = math.ceil(len(cases) / columns)
    figure = Figure(
        figsize=(WIDTH, 0.6 + lines * WIDTH / columns * 1.16), dpi=DPI, layout="constrained"
    )
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels[len(cases) :]:
        axes.set_axis_off()
    for axes, case in zip(panels, cases, strict=False):
        _draw_case(axes, case, intensity)
    figure.legend(
        handles=[
            Line2D([], [], color=TRUTH, linewidth=3, label="label"),
            Line2D([], [], color=BEFORE, linewidth=2, linestyle="--", label="before"),
            Line2D([], [], color=AFTER, linewidth=2, label="after"),
        ],
        loc="outside upper center",
        ncols=3,
        frameon=False,
    )
    return figure


def _draw_case(axes: Axes, case: WorstCase, intensity: str) -> None:
    image = case.image
    assert case.before.mask is not None
    assert case.after.mask is not None
    truth = image.masks[case.after.target]
    masks = [truth, case.before.mask.unpack(), case.after.mask.unpack()]
    rows, columns = square_around(masks[0] | masks[2])
    view = SliceView(image.image, intensity, image.modality, image.body_part)
    axes.imshow(view.image8()[rows, columns], interpolation="nearest")
    for mask, colour, line, width in zip(
        masks, (TRUTH, BEFORE, AFTER), ("-", "--", "-"), (3.0, 1.8, 1.8), strict=True
    ):
        part = mask[rows, columns]
        if part.any() and not part.all():
            axes.contour(part, levels=[0.5], colors=colour, linestyles=line, linewidths=width)
    figures = f"Dice {case.before.by_clicks[0]:.2f} to {case.after.by_clicks[0]:.2f}"
    title = f"{printable(case.after.image)}\n{printable(case.after.label)}\n{figures}"
    axes.set_title(title, fontsize=9, parse_math=False)
    axes.set_axis_off()


def square_around(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of a square, where the image allows it, around a mask (H, W) with a margin.

    Raises:
        PromptError: the mask is empty.
    """
    x0, y0, x1, y1 = bounding_box(mask)
    height, width = mask.shape
    side = max(SMALLEST_CROP, round((1 + 2 * MARGIN) * max(x1 - x0, y1 - y0)))
    top = min(max(0, (y0 + y1 - side) // 2), max(0, height - side))
    left = min(max(0, (x0 + x1 - side) // 2), max(0, width - side))
    return slice(top, min(height, top + side)), slice(left, min(width, left + side))

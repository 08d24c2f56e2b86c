"""A user's prompt on a slice to which the object was carried already.

The click is meant as a correction of the mask that the user sees there, so the network gets that
mask, and with it the click that stands for it (`neighbour.inner_click`), as if that had been
the first of a chain of clicks. Without this click a network that is told only where the object is
not answers with next to nothing: on our volumes the Dice of slices corrected by one background
click was 0.16 without it and 0.52 with it, and 0.65 against 0.77 for foreground clicks.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from lib.imaging.geometry import Frame
from lib.inference.decoder import LowRes
from lib.inference.neighbour import has_object, inner_click
from lib.prompts.prompt import Point, Prompt

MIDDLE = 0.8
"""A click this deep, as a share of the deepest pixel, lies in the middle of a mask."""


def is_positive(prompt: Prompt) -> bool:
    """Whether it says where the object is, and not only where it is not."""
    return 1 in prompt.labels or prompt.box is not None


def corrected(prompt: Prompt, start: LowRes, height: int, width: int) -> Prompt:
    """The prompt with the mask that it corrects.

    Args:
        prompt: of the user.
        start: the answer that was carried to this slice.
        height: rows of the slice.
        width: columns of it.
    """
    inside = start.logits[0] > 0
    for row, column in _pixels(prompt, 0, inside.shape, height, width):
        inside[row, column] = False  # so that the click keeps away from there
    if not inside.any():
        return replace(prompt, mask=start.logits)
    click = inner_click(inside, height, width)
    return replace(
        prompt,
        points=(click, *prompt.points),
        labels=(1, *prompt.labels),
        mask=start.logits,
    )


def refuses(prompt: Prompt, start: LowRes | None, height: int, width: int) -> bool:
    """Whether a prompt says that the object is not on this slice at all.

    That is what background clicks alone mean where the object was not carried to, or where one of
    them lies in the middle of the mask. Near its edge they cut something off.

    Args:
        prompt: of the user.
        start: the answer that was carried to this slice, or None.
        height: rows of the slice.
        width: columns of it.
    """
    if is_positive(prompt):
        return False
    if start is None or not has_object(start):
        return True
    inside = start.logits[0] > 0
    depth = ndimage.distance_transform_cdt(np.pad(inside, 1), metric="chessboard")[1:-1, 1:-1]
    clicked = [depth[pixel] for pixel in _pixels(prompt, 0, inside.shape, height, width)]
    return bool(max(clicked) >= MIDDLE * depth.max())


def nowhere() -> LowRes:
    """The answer of a slice without the object; the network is not asked."""
    return LowRes(np.full((1, 64, 64), -10, dtype=np.float32), iou=1.0)


def _pixels(
    prompt: Prompt, label: int, shape: tuple[int, ...], height: int, width: int
) -> list[tuple[int, int]]:
    """(row, column) on the grid of the network's masks, of the points with a label."""
    points = [p for p, own in zip(prompt.points, prompt.labels, strict=True) if own == label]
    return [_pixel(point, shape, height, width) for point in points]


def _pixel(point: Point, shape: tuple[int, ...], height: int, width: int) -> tuple[int, int]:
    rows, columns = shape
    x, y = Frame(height, width, columns).to_network((point[0] + 0.5, point[1] + 0.5))
    return int(np.clip(y, 0, rows - 1)), int(np.clip(x, 0, columns - 1))

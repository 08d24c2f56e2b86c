"""A simulated user: the box, the first click and the next click, from a mask and its errors.

Two families live here. ``published_*`` repeats the rule of SAM-Med2D (its training and test code;
Cheng et al. 2023, arXiv:2308.16184) number for number. The other functions are our own rule: clicks
where a person would click, boxes as a person would draw them.

Conventions: masks are (H, W), axis 0 = row y, axis 1 = column x, every value but 0 is foreground.
Points are (x, y) pixel indices of that mask (the centre of a pixel has its whole-numbered index).
Boxes are (x0, y0, x1, y1) with x1, y1 exclusive. Labels: 1 foreground (missed so far),
0 background (wrongly covered so far), -1 no click (the network ignores the point).

Nothing here owns a random state: our rule takes a ``np.random.Generator``, the published one a
``np.random.RandomState``, whose stream for seed s is that of the original's ``np.random.seed(s)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit

from lib.errors import PromptError
from lib.prompts.components import (
    Mask,
    as_mask,
    bounding_box,
    component_boxes,
    largest_component,
)

FOREGROUND = 1
BACKGROUND = 0
IGNORED = -1

LegacyRandom = np.random.RandomState
"""The random source of the published rule; ``LegacyRandom(s)`` repeats ``np.random.seed(s)``."""

FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.int64]

# Clicks this deep or less, as a share of the deepest pixel, count as "near the boundary".
_BOUNDARY_BAND = 0.25
# An edge of a drawn box never moves more than this share of the side, so edges cannot cross.
_MAX_EDGE_MOVE = 0.45


@dataclass(frozen=True)
class Click:
    """One click: pixel (x, y) and its label (1 foreground, 0 background, -1 no click)."""

    x: int
    y: int
    label: int


NO_CLICK = Click(0, 0, IGNORED)
"""What ``next_click`` gives when there is nothing to correct: SAM's own padding point."""


# --- our rule -----------------------------------------------------------------------------------


def interior_click(target: NDArray[Any], label: int = FOREGROUND) -> Click:
    """The innermost pixel of ``target`` (H, W): where a careful user clicks first.

    Innermost is the maximum of the chessboard distance to the background (the centre of the
    largest square that fits; four times faster than the Euclidean one), and the image's edge
    counts as background. Among equals, the one nearest to their mean. No randomness.

    Raises:
        PromptError: the mask is empty or not two-dimensional.
    """
    depth, (x0, y0) = _depth(as_mask(target))
    rows, columns = np.nonzero(depth == depth.max())
    distance = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
    best = int(np.argmin(distance))
    return Click(x0 + int(columns[best]), y0 + int(rows[best]), label)


def random_click(
    target: NDArray[Any],
    rng: np.random.Generator,
    near_boundary: float = 0.3,
    label: int = FOREGROUND,
) -> Click:
    """A random pixel of ``target`` (H, W): a hasty user's click.

    With probability ``near_boundary`` (0..1) it lies in the outer band (depth up to a quarter of
    the greatest one), else further inside; uniform within the chosen part. A target too thin to
    have an inside is one band.

    Raises:
        PromptError: the mask is empty or not two-dimensional.
    """
    depth, (x0, y0) = _depth(as_mask(target))
    band = max(1.0, _BOUNDARY_BAND * float(depth.max()))
    wanted = (depth > 0) & (depth <= band)
    if rng.random() >= near_boundary and depth.max() > band:
        wanted = depth > band
    pixels = np.flatnonzero(wanted)
    row, column = divmod(int(pixels[rng.integers(pixels.size)]), depth.shape[1])
    return Click(x0 + column, y0 + row, label)


def next_click(
    predicted: NDArray[Any],
    target: NDArray[Any],
    rng: np.random.Generator,
    random_share: float = 0.0,
    near_boundary: float = 0.3,
) -> Click:
    """The click that corrects the worst mistake of ``predicted`` against ``target``, both (H, W).

    The worst mistake is the largest 8-connected component of what was missed (label 1) or of what
    was covered wrongly (label 0); of equals, the missed one. The click is its innermost pixel, or
    with probability ``random_share`` (0..1) a ``random_click`` in it. Masks without a difference,
    empty ones included, give ``NO_CLICK``.

    Raises:
        PromptError: the masks differ in shape or are not two-dimensional.
    """
    prediction, truth = _same_shape(predicted, target)
    missed, missed_area = largest_component(truth & ~prediction)
    covered, covered_area = largest_component(prediction & ~truth)
    if missed_area == covered_area == 0:
        return NO_CLICK
    is_missed = missed_area >= covered_area
    error, label = (missed, FOREGROUND) if is_missed else (covered, BACKGROUND)
    if rng.random() < random_share:
        return random_click(error, rng, near_boundary, label)
    return interior_click(error, label)


def random_box(
    target: NDArray[Any], rng: np.random.Generator, sigma: float = 0.1
) -> tuple[float, float, float, float]:
    """The box a user would draw round all of ``target`` (H, W): each edge off by its own error.

    The error of an edge is normal with ``sigma`` times the box's width (left, right) or height
    (top, bottom), at most 0.45 of it, so the box never turns inside out; then clipped to
    0..W and 0..H. ``sigma=0`` gives the exact box. Sub-pixel.

    Raises:
        PromptError: the mask is empty or not two-dimensional.
    """
    mask = as_mask(target)
    exact = np.array(bounding_box(mask), dtype=np.float64)
    side = np.tile(exact[2:] - exact[:2], 2)
    error = np.clip(rng.normal(0.0, sigma, size=4), -_MAX_EDGE_MOVE, _MAX_EDGE_MOVE)
    height, width = mask.shape
    x0, y0, x1, y1 = np.clip(exact + error * side, 0.0, (width, height, width, height))
    return float(x0), float(y0), float(x1), float(y1)


# --- the rule of SAM-Med2D ----------------------------------------------------------------------


def published_boxes(mask: NDArray[Any], count: int = 1) -> FloatArray:
    """SAM-Med2D's boxes of ``mask`` (H, W), before the shift: (count, 4) float32.

    With at least ``count`` components: those of the largest components, by area (of equals, the
    first met by a scan along the rows). With fewer: all in scan order, then again from the first.
    So one box surrounds the largest component, not the whole mask.

    Raises:
        PromptError: the mask is empty (the original divides by zero) or not two-dimensional.
    """
    boxes, areas = component_boxes(as_mask(mask))
    if not boxes:
        raise _nothing_to_prompt()
    if len(boxes) >= count:
        order = np.argsort(-areas, kind="stable")[:count]
        chosen = [boxes[i] for i in order]
    else:
        chosen = [boxes[i % len(boxes)] for i in range(count)]
    return np.array(chosen, dtype=np.float32)


def published_shift(
    boxes: FloatArray, random: LegacyRandom, max_pixels: int = 5, share: float = 0.1
) -> FloatArray:
    """SAM-Med2D's box noise: each row of ``boxes`` (N, 4) is moved as a whole, its size is kept.

    With m = min(max_pixels, floor(5 * share * shorter side)), dx and dy are whole numbers drawn
    from -m..m-1 (dx first); m = 0 draws nothing. The result (N, 4) is not clipped to the image.
    The test code uses ``max_pixels=0``.
    """
    shifted = boxes.copy()
    for row in shifted:
        shorter = min(abs(float(row[2] - row[0])), abs(float(row[3] - row[1])))
        most = min(max_pixels, int(shorter * share * 5))
        if most > 0:
            row[[0, 2]] += random.randint(-most, most)
            row[[1, 3]] += random.randint(-most, most)
    return shifted


def published_first_points(
    mask: NDArray[Any], random: LegacyRandom, count: int = 1
) -> tuple[FloatArray, LabelArray]:
    """SAM-Med2D's first points for ``mask`` (H, W): (count, 2) float32 and (count,) labels.

    One point: uniform over the foreground, label 1 (an empty mask: over the background, label 0).
    More: floor(count / 2) in the foreground and the rest in the BACKGROUND, with replacement, in
    random order; so "3 points" are one foreground and two background points.

    Raises:
        PromptError: there is no foreground or no background pixel to draw from.
    """
    wanted = as_mask(mask)
    inside, outside = _pixels_xy(wanted), _pixels_xy(~wanted)
    if count == 1:
        pixels, label = (inside, FOREGROUND) if len(inside) else (outside, BACKGROUND)
        point = pixels[random.randint(len(pixels))]
        return point[None].astype(np.float32), np.array([label], dtype=np.int64)
    if not len(inside) or not len(outside):
        raise _nothing_to_prompt()
    n_inside = count // 2
    n_outside = count - n_inside
    picked = [
        inside[random.choice(len(inside), size=n_inside, replace=True)],
        outside[random.choice(len(outside), size=n_outside, replace=True)],
    ]
    labels = np.array([FOREGROUND] * n_inside + [BACKGROUND] * n_outside, dtype=np.int64)
    order = random.permutation(count)
    return np.concatenate(picked)[order].astype(np.float32), labels[order]


def published_next_points(
    predicted: NDArray[Any], target: NDArray[Any], random: LegacyRandom, count: int = 1
) -> tuple[FloatArray, LabelArray]:
    """SAM-Med2D's next points for one row: (count, 2) float32 and (count,) labels.

    ``predicted`` and ``target`` are (H, W) masks (the original thresholds sigmoid(logits) > 0.5).
    Points are drawn with replacement, uniformly over the pixels where the two differ: label 1 if
    missed, 0 if wrongly covered. Without any difference: random pixels with label -1 (drawn twice,
    as the original does). For a batch, call it row by row with the same ``random``.

    Raises:
        PromptError: the masks differ in shape or are not two-dimensional.
    """
    prediction, truth = _same_shape(predicted, target)
    candidates = np.argwhere(prediction != truth)
    if not len(candidates):
        # The original draws from 0..255 whatever the shape: its images are always 256 x 256.
        candidates = random.randint(0, min(truth.shape), size=(count, 2))
    rows, columns = candidates[random.choice(len(candidates), count, replace=True)].T
    agree = prediction[rows, columns] == truth[rows, columns]
    labels = np.where(agree, IGNORED, np.where(truth[rows, columns], FOREGROUND, BACKGROUND))
    return np.stack([columns, rows], axis=1).astype(np.float32), labels.astype(np.int64)


def published_mask_prompt(low_res_logits: FloatArray) -> FloatArray:
    """SAM-Med2D's mask prompt: the last low-resolution logits (..., 64, 64) as probabilities.

    SAM itself feeds raw logits; SAM-Med2D was trained on sigmoid(logits) and needs these.
    """
    probabilities: FloatArray = expit(low_res_logits.astype(np.float32, copy=False))
    return probabilities


# --- shared -------------------------------------------------------------------------------------


def _depth(mask: Mask) -> tuple[NDArray[np.int32], tuple[int, int]]:
    """Chessboard depth (0 outside), cropped to the mask's box; the crop's corner (x, y)."""
    x0, y0, x1, y1 = bounding_box(mask)
    padded = np.pad(mask[y0:y1, x0:x1], 1)
    depth = ndimage.distance_transform_cdt(padded, metric="chessboard")
    return depth[1:-1, 1:-1], (x0, y0)


def _pixels_xy(mask: Mask) -> NDArray[np.int64]:
    """Foreground pixels of ``mask`` as (N, 2) x, y in raster order."""
    return np.argwhere(mask)[:, ::-1]


def _same_shape(predicted: NDArray[Any], target: NDArray[Any]) -> tuple[Mask, Mask]:
    """Both as boolean masks of one shape, else a PromptError."""
    prediction, truth = as_mask(predicted, "predicted"), as_mask(target, "target")
    if prediction.shape != truth.shape:
        raise PromptError(
            got=f"predicted {prediction.shape} and target {truth.shape}",
            allowed="two masks of the same shape",
            todo="bring both to the same grid before comparing them",
        )
    return prediction, truth


def _nothing_to_prompt() -> PromptError:
    return PromptError(
        got="a mask without the foreground or background pixels to draw from",
        allowed="at least one pixel of each kind that is asked for",
        todo="leave out objects that are not on this slice or fill all of it",
    )

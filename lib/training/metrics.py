"""Dice and IoU of masks, in numpy: clean ones, and SAM-Med2D's as its test code computes them.

The clean ones compare two binary masks. ``published_*`` repeats the original (arXiv:2308.16184,
its metrics and test script) on network outputs, its quirks included, for tables that must be
comparable with its README; do not use it for anything else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

FloatArray = NDArray[np.float32]

_PUBLISHED_EPS = np.float32(1e-7)
_PUBLISHED_THRESHOLD = 0.5


# --- clean --------------------------------------------------------------------------------------


def dice(mask: NDArray[Any], target: NDArray[Any]) -> float:
    """Dice coefficient 2|A and B| / (|A| + |B|), 0..1, of two masks of one shape (any dimension).

    Every value but 0 is foreground. Two empty masks agree: 1.0. One empty mask: 0.0.

    Raises:
        ValueError: the shapes differ.
    """
    intersection, mask_size, target_size = _counts(mask, target)
    size = mask_size + target_size
    return 2.0 * intersection / size if size else 1.0


def iou(mask: NDArray[Any], target: NDArray[Any]) -> float:
    """Intersection over union, 0..1, of two masks of one shape (any dimension).

    Every value but 0 is foreground. Two empty masks agree: 1.0. One empty mask: 0.0.

    Raises:
        ValueError: the shapes differ.
    """
    intersection, mask_size, target_size = _counts(mask, target)
    union = mask_size + target_size - intersection
    return intersection / union if union else 1.0


# --- SAM-Med2D's --------------------------------------------------------------------------------


def published_iou(prediction: NDArray[Any], target: NDArray[Any]) -> FloatArray:
    """SAM-Med2D's IoU of each row, (B, 1, H, W) twice -> (B,) float32: (I + eps) / (U + eps).

    eps is 1e-7. See ``published_binary`` for how a prediction becomes a mask.

    Raises:
        ValueError: the shapes differ.
    """
    intersection, size = _published_counts(prediction, target)
    ratio: FloatArray = (intersection + _PUBLISHED_EPS) / (size - intersection + _PUBLISHED_EPS)
    return ratio


def published_dice(prediction: NDArray[Any], target: NDArray[Any]) -> FloatArray:
    """SAM-Med2D's Dice of each row, (B, 1, H, W) twice -> (B,): (2I + eps) / (A + B + eps).

    An empty target with a non-empty prediction gives about 0, two empty masks give 1.

    Raises:
        ValueError: the shapes differ.
    """
    intersection, size = _published_counts(prediction, target)
    ratio: FloatArray = (2 * intersection + _PUBLISHED_EPS) / (size + _PUBLISHED_EPS)
    return ratio


def published_metrics(prediction: NDArray[Any], target: NDArray[Any]) -> tuple[float, float]:
    """SAM-Med2D's (IoU, Dice), each averaged over the rows of (B, 1, H, W) arrays.

    Its test script calls this with one row at a time, rounds both to four decimals and then
    averages over the items; the rounding is left to the caller.

    Raises:
        ValueError: the shapes differ.
    """
    return (
        float(published_iou(prediction, target).mean()),
        float(published_dice(prediction, target).mean()),
    )


def published_binary(array: NDArray[Any]) -> NDArray[np.bool_]:
    """SAM-Med2D's rule from outputs to masks: sigmoid only if the smallest value is below 0, > 0.5.

    The smallest value is that of the whole array, all rows together. Logits that happen to be all
    positive are taken for probabilities, and those up to 0.5 end up as background: an error of the
    original, kept here because its published numbers contain it.
    """
    values = np.asarray(array, dtype=np.float32)
    probabilities = expit(values) if values.min() < 0 else values
    return np.asarray(probabilities > _PUBLISHED_THRESHOLD)


# --- shared -------------------------------------------------------------------------------------


def _counts(mask: NDArray[Any], target: NDArray[Any]) -> tuple[int, int, int]:
    """Pixels in both, in the mask, in the target."""
    first, second = np.asarray(mask) != 0, np.asarray(target) != 0
    _check_same_shape(first, second)
    return (
        int(np.count_nonzero(first & second)),
        int(np.count_nonzero(first)),
        int(np.count_nonzero(second)),
    )


def _published_counts(
    prediction: NDArray[Any], target: NDArray[Any]
) -> tuple[FloatArray, FloatArray]:
    """Per row (B,): pixels in both masks, and the sum of the two masks' sizes."""
    _check_same_shape(np.asarray(prediction), np.asarray(target))
    mask, truth = published_binary(prediction), published_binary(target)
    axes = tuple(range(1, mask.ndim))
    intersection = np.count_nonzero(mask & truth, axis=axes)
    size = np.count_nonzero(mask, axis=axes) + np.count_nonzero(truth, axis=axes)
    return np.asarray(intersection, dtype=np.float32), np.asarray(size, dtype=np.float32)


def _check_same_shape(first: NDArray[Any], second: NDArray[Any]) -> None:
    if first.shape != second.shape:
        raise ValueError(f"masks of shapes {first.shape} and {second.shape} cannot be compared")

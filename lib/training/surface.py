"""Normalised surface Dice: which share of two outlines runs within a tolerance of each other.

Nikolov et al. 2021 (arXiv:1809.04430), as MONAI computes it. The tolerance is 2 pixels of an image
whose longer side is scaled to 256, the network's frame: a data set of many modalities has no
common millimetre, and in many of its files no millimetre is stated.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from monai.metrics.surface_dice import compute_surface_dice
from numpy.typing import NDArray

from lib.prompts.components import bounding_box

Mask = NDArray[np.bool_]

TOLERANCE = 2.0
"""In pixels of the frame."""
FRAME = 256


def surface_dice(mask: Mask, target: Mask, tolerance: float = TOLERANCE) -> float:
    """Normalised surface Dice, 0..1, of two masks (H, W) of one shape.

    Two empty masks agree: 1.0. One empty mask: 0.0.

    Args:
        mask: what is judged.
        target: what it should be.
        tolerance: in pixels of an image whose longer side is 256.

    Raises:
        ValueError: the shapes differ, or are not two-dimensional.
    """
    if mask.shape != target.shape or mask.ndim != 2:
        raise ValueError(f"masks of shapes {mask.shape} and {target.shape} cannot be compared")
    if not mask.any() or not target.any():
        return float(mask.any() == target.any())
    pixel = FRAME / max(mask.shape)
    # What lies outside of both boxes has no outline; the border stays, for objects end there.
    x0, y0, x1, y1 = bounding_box(mask | target)
    first, second = (np.pad(part[y0:y1, x0:x1], 1) for part in (mask, target))
    with warnings.catch_warnings():
        # MONAI 1.6 warns of an argument that it passes to itself.
        warnings.simplefilter("ignore", FutureWarning)
        value = compute_surface_dice(
            torch.from_numpy(first)[None, None],
            torch.from_numpy(second)[None, None],
            class_thresholds=[tolerance],
            include_background=True,
            spacing=pixel,
        )
    return float(value)

"""DICOM series with a bright ball, in any geometry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom

from lib.imaging.affine import Affine
from tests.support.dicom_series import write_series

BALL_SHAPE = (96, 80, 9)
"""(I, J, K)."""
CENTRE = (40, 46, 5)
"""Nowhere in the middle, so that a mirrored grid shows."""
_RADII = (18, 14, 3.5)


def ball() -> npt.NDArray[np.bool_]:
    """Where the ball is, (I, J, K)."""
    offsets = np.indices(BALL_SHAPE) - np.array(CENTRE)[:, None, None, None]
    return (offsets**2 / np.array(_RADII)[:, None, None, None] ** 2).sum(axis=0) < 1


def write_ball_series(folder: Path, affine: Affine, *, numbered_upward: bool) -> Path:
    """Write a series whose instance numbers go with the slices, or against them.

    Args:
        folder: is made.
        affine: (4, 4) RAS.
        numbered_upward: instance number 1 is slice 0.
    """
    folder.mkdir()
    noise = np.random.default_rng(1).normal(0, 12, BALL_SHAPE)
    values = np.clip(60 + 240 * ball() + noise, 0, 1000).astype("<u2")
    for k, path in enumerate(write_series(folder, affine, BALL_SHAPE)):
        data = pydicom.dcmread(path)
        data.PixelData = np.ascontiguousarray(values[:, :, k].T).tobytes()
        data.RescaleIntercept, data.RescaleSlope = 0, 1
        data.InstanceNumber = k + 1 if numbered_upward else BALL_SHAPE[2] - k
        data.save_as(path)
    return folder

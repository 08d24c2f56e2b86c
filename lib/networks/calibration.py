"""The images on which the ranges of an 8 bit encoder are measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lib.networks.sam import AdapterSam

CALIBRATION_FILE = Path(__file__).resolve().parents[2] / "sample-data" / "calibration.npz"
"""Synthetic images of all kinds, written by scripts/make_sample_data.py."""


def calibration_images(
    model: AdapterSam, file: Path = CALIBRATION_FILE
) -> list[NDArray[np.float32]]:
    """Inputs (1, 3, S, S) of the model's encoder.

    Args:
        model: normalises the images.
        file: .npz with one array ``images`` (N, S, S, 3) uint8 of the model's image size.
    """
    with np.load(file, allow_pickle=False) as content:
        images = content["images"]
    device = model.pixel_mean.device
    inputs = []
    for image in images:
        pixels = torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float()
        inputs.append(model.normalise(pixels).cpu().numpy())
    return inputs

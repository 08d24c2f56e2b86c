"""What one would write without this project: nibabel, scikit-image and Pillow in a loop.

The same rules as the builder's, slice by slice and class by class, on one process.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from scripts._benchmark.errors import BenchmarkError

SMALLEST = 0.00153


def plain_loop(image: Path, labels: Path, out: Path, classes: int) -> tuple[int, int]:
    """Write the slices of a volume along all axes, and their masks.

    Args:
        image: NIfTI.
        labels: NIfTI with values from 0 to `classes`.
        out: an existing folder.
        classes: how many.

    Returns:
        Numbers of images and masks.
    """
    try:
        measure = importlib.import_module("skimage.measure")
    except ImportError as error:
        raise BenchmarkError(
            "the plain loop needs scikit-image: pip install scikit-image"
        ) from error
    volume = np.asarray(nibabel.load(image).dataobj)
    marks = np.asarray(nibabel.load(labels).dataobj)
    scaled = (volume - volume.min()) / (volume.max() - volume.min()) * 255
    images = masks = 0
    for axis in range(3):
        for index in range(volume.shape[axis]):
            grey = np.moveaxis(scaled, axis, 0)[index].T.astype(np.uint8)
            mark = np.moveaxis(marks, axis, 0)[index].T
            if 2 * min(grey.shape) < max(grey.shape):
                continue
            found = 0
            for value in range(1, classes + 1):
                parts = measure.label(mark == value, connectivity=2)
                for number in range(1, parts.max() + 1):
                    mask = parts == number
                    if mask.mean() >= SMALLEST:
                        name = f"{axis}_{index}_{value}_{found}.png"
                        Image.fromarray((255 * mask).astype(np.uint8)).save(out / name)
                        found += 1
            if found:
                Image.fromarray(grey).convert("RGB").save(out / f"{axis}_{index}.png")
                images, masks = images + 1, masks + found
    return images, masks

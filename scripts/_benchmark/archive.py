"""A made-up archive for ``benchmark.py dataset``: volumes of noise with balls of nine classes."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from lib.data.builder.description import Source
from scripts._benchmark.study import Shape

CLASSES = {str(value): f"ball {value}" for value in range(1, 10)}
BALLS = 5
"""Along each axis."""


def write_archive(folder: Path, cases: int, shape: Shape, seed: int) -> None:
    """Write NIfTI pairs: 16 bit grey values, 8 bit labels, not packed, i fastest."""
    folder.mkdir(parents=True)
    labels = _balls(shape)
    for number in range(cases):
        rng = np.random.default_rng([seed, number])
        image = np.empty(shape, np.int16, order="F")
        for k in range(shape[2]):  # a whole volume of random numbers would need 8 bytes a voxel
            noise = rng.integers(-900, 300, shape[:2], dtype=np.int16)
            image[:, :, k] = noise + 60 * labels[:, :, k].astype(np.int16)
        for kind, array in (("image", image), ("label", labels)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / f"c{number}_{kind}.nii")


def source_of(folder: Path, axes: str = "xyz") -> Source:
    """What describes the archive."""
    return Source(
        dataset="made",
        kind="volume",
        modality="ct_00",
        classes=CLASSES,
        root=str(folder),
        images="{case}_image.nii",
        labels="{case}_label.nii",
        axes=axes,
        orientation="file",
        names="keep",
    )


def _balls(shape: Shape) -> np.ndarray:
    """(I, J, K) uint8; a slice through the balls meets most of a layer of them."""
    labels = np.zeros(shape, np.uint8, order="F")
    offsets = [np.abs(np.arange(n) * BALLS / n % 1 - 0.5) for n in shape]
    cells = [np.arange(n) * BALLS // n for n in shape]
    plane = offsets[0][:, None] ** 2 + offsets[1][None, :] ** 2
    for k in range(shape[2]):
        inside = plane + offsets[2][k] ** 2 < 0.45**2
        number = (cells[0][:, None] + 3 * cells[1][None, :] + 5 * cells[2][k]) % len(CLASSES)
        labels[:, :, k] = np.where(inside, number + 1, 0)
    return labels

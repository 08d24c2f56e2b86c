"""Images to work on and labels to save: small, and each different from all others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]
Voxel = tuple[int, int, int]

PROMPTS = 24
"""Different clicks on an image; each is made many times."""
_nib: Any = nibabel  # its annotations are partial


@dataclass(frozen=True)
class Case:
    """An image of a server.

    Attributes:
        image: its id.
        shape: (I, J, K).
        clicks: voxels that are clicked on.
    """

    image: str
    shape: Voxel
    clicks: tuple[Voxel, ...]


def make_case(number: int) -> tuple[Case, NDArray[np.int16]]:
    """A CT-like volume with some bright balls; no two have the same shape."""
    rng = np.random.default_rng(number)
    shape = (72 + 4 * number, 64 + 6 * number, 8 + number % 5)
    i, j, k = np.indices(shape)
    volume = rng.normal(40, 15, shape)
    clicks = []
    for _ in range(PROMPTS):
        centre = [int(rng.integers(size // 5, size - size // 5)) for size in shape]
        radius = float(rng.uniform(4, 10))
        distance = (i - centre[0]) ** 2 + (j - centre[1]) ** 2 + (3 * (k - centre[2])) ** 2
        volume[distance < radius**2] = rng.uniform(150, 300)
        clicks.append((centre[0], centre[1], centre[2]))
    return Case(f"case{number}", shape, tuple(clicks)), volume.astype(np.int16)


def write_cases(folder: Path, count: int) -> tuple[Case, ...]:
    """Write images into the folder of a server."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for number in range(count):
        case, volume = make_case(number)
        image = _nib.Nifti1Image(volume, np.diag([-1.0, -1.0, 3.0, 1.0]))
        _nib.save(image, folder / f"{case.image}.nii.gz")
        cases.append(case)
    return tuple(cases)


def drawing(rng: np.random.Generator, shape: Voxel) -> Labels:
    """A label map that nobody else has: boxes of values 1 and 2 at random places."""
    labels = np.zeros(shape, np.uint8)
    for value in (1, 2, 1):
        start = [int(rng.integers(0, size - 3)) for size in shape]
        end = [first + int(rng.integers(2, 12)) for first in start]
        labels[start[0] : end[0], start[1] : end[1], start[2] : end[2]] = value
    return labels

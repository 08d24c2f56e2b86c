"""A synthetic study to click on: one large volume, another picture on every slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]
Voxel = tuple[int, int, int]

IMAGE_ID = "benchmark"
_nib: Any = nibabel  # its annotations are partial
BONE, OBJECT, BODY, AIR, NOISE = 900, 160, 40, -1000, 20
"""Hounsfield units of the parts, and the standard deviation of the noise."""
MOST_POINTS = 6
"""A made-up annotator gives up to so many points on one object."""
BACKGROUND_SHARE = 0.3


@dataclass(frozen=True)
class Study:
    """Where things are in the volume: an object that runs through all slices, in a body.

    Attributes:
        image: id in the datastore.
        shape: (I, J, K) in voxels.
    """

    image: str
    shape: Shape

    def centre(self, k: int) -> tuple[float, float]:
        """Column and row of the object's centre on a slice; it winds through the volume."""
        angle = 2 * np.pi * k / max(self.shape[2], 1)
        return (
            self.shape[0] * (0.5 + 0.1 * float(np.cos(angle))),
            self.shape[1] * (0.5 + 0.1 * float(np.sin(angle))),
        )

    @property
    def radii(self) -> tuple[float, float]:
        """Half the object's width and height."""
        return self.shape[0] / 10, self.shape[1] / 10

    def inside(self, rng: np.random.Generator, k: int) -> Voxel:
        """A random voxel of the object."""
        return self._place(rng, k, 0.0, 0.8)

    def outside(self, rng: np.random.Generator, k: int) -> Voxel:
        """A random voxel near it."""
        return self._place(rng, k, 1.3, 1.8)

    def _place(self, rng: np.random.Generator, k: int, nearest: float, farthest: float) -> Voxel:
        (x, y), (width, height) = self.centre(k), self.radii
        distance, angle = rng.uniform(nearest, farthest), rng.uniform(0, 2 * np.pi)
        i = round(x + distance * width * float(np.cos(angle)))
        j = round(y + distance * height * float(np.sin(angle)))
        return min(max(i, 0), self.shape[0] - 1), min(max(j, 0), self.shape[1] - 1), k


@dataclass(frozen=True)
class Points:
    """The points of one request, in the two lists in which viewers send them."""

    foreground: tuple[Voxel, ...]
    background: tuple[Voxel, ...] = ()


def clicks(rng: np.random.Generator, study: Study, k: int) -> Iterator[Points]:
    """Requests as a viewer sends them: one more point each time, now and then a new object.

    Without end. The first point of an object lies in it, about a third of the others beside it.
    """
    while True:
        points = Points((study.inside(rng, k),))
        yield points
        for _ in range(int(rng.integers(0, MOST_POINTS))):
            if rng.random() < BACKGROUND_SHARE:
                points = Points(points.foreground, (*points.background, study.outside(rng, k)))
            else:
                points = Points((*points.foreground, study.inside(rng, k)), points.background)
            yield points


def write_study(folder: Path, shape: Shape, seed: int, image: str = IMAGE_ID) -> Study:
    """Write an uncompressed int16 NIfTI volume with noise of its own on every slice.

    Args:
        folder: of the studies.
        shape: (I, J, K).
        seed: of the noise.
        image: name of the file, before ``.nii``.
    """
    study, rng = Study(image, shape), np.random.default_rng([seed, 3])
    volume = np.empty(shape, np.int16, order="F")
    for k in range(shape[2]):
        picture = np.full(shape[:2], AIR, np.float32)
        _fill_ellipse(picture, (shape[0] / 2, shape[1] / 2), (shape[0] / 2.2, shape[1] / 2.6), BODY)
        _fill_ellipse(picture, (shape[0] / 2, shape[1] / 1.3), (shape[0] / 20, shape[1] / 20), BONE)
        _fill_ellipse(picture, study.centre(k), study.radii, OBJECT)
        volume[:, :, k] = picture + NOISE * rng.standard_normal(shape[:2], dtype=np.float32)
    made = _nib.Nifti1Image(volume, np.diag([0.7, 0.7, 1.5, 1.0]))
    _nib.save(made, folder / f"{image}.nii")
    return study


def _fill_ellipse(
    picture: NDArray[np.float32],
    centre: tuple[float, float],
    radii: tuple[float, float],
    value: float,
) -> None:
    """Write a value into all pixels of an ellipse; the first axis is the column."""
    columns, rows = np.ogrid[: picture.shape[0], : picture.shape[1]]
    across, along = (columns - centre[0]) / radii[0], (rows - centre[1]) / radii[1]
    picture[across**2 + along**2 < 1] = value

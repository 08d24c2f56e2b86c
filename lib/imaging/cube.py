"""Cubes of equal voxels out of a volume, and values on them back in the volume's own grid.

SAM-Med3D sees voxels of 1.5 mm along the body's axes (right, front, head), in the way TorchIO makes
them: the new voxels share the centre of the image, and no more are made than fit in it. The file's
axes are exchanged and turned to the nearest of the body's, never rotated, so each new axis follows
one axis of the file and resampling is linear interpolation along one axis after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from nibabel import orientations
from numpy.typing import ArrayLike, NDArray

from lib.imaging.affine import Affine, spacing_of

Triple = tuple[int, int, int]
Interpolation = Literal["linear", "nearest"]


@dataclass(frozen=True)
class CubeGrid:
    """A grid along the axes of a volume: voxel n of its axis a lies at ``offset + step * n``.

    Attributes:
        axes: axis of the file that each axis of the grid follows.
        offsets: in voxels of the file.
        steps: in voxels of the file, negative where the file runs the other way.
        shape: voxels that the grid has; what lies beyond them is 0.
    """

    axes: Triple
    offsets: tuple[float, float, float]
    steps: tuple[float, float, float]
    shape: Triple

    def of_file(self, voxels: ArrayLike) -> NDArray[np.float64]:
        """Places in the grid (..., 3) of voxels (i, j, k) of the file."""
        points = np.asarray(voxels, dtype=np.float64)[..., list(self.axes)]
        return np.asarray((points - self.offsets) / np.asarray(self.steps))

    def cells(self, start: Sequence[int], stride: int, shape: Triple) -> CubeGrid:
        """The grid whose voxels are the cubes of ``stride`` voxels from ``start`` on."""
        first = [n + (stride - 1) / 2 for n in start]
        steps = np.asarray(self.steps)
        offsets = np.asarray(self.offsets) + steps * first
        return replace(self, offsets=_triple(offsets), steps=_triple(stride * steps), shape=shape)

    def cut(
        self,
        array: NDArray[Any],
        start: Sequence[int],
        size: int,
        interpolation: Interpolation = "linear",
    ) -> NDArray[np.float32]:
        """A cube (size, size, size) out of a volume.

        Args:
            array: (I, J, K) of the file.
            start: first voxel of the cube in the grid; may lie outside.
            size: its edge.
            interpolation: linear for grey values, nearest for labels.
        """
        cube = np.zeros((size, size, size), np.float32)
        values = array.transpose(self.axes)
        inside, reads, places = [], [], []
        for axis in range(3):
            wanted = np.arange(start[axis], start[axis] + size)
            real = np.flatnonzero((wanted >= 0) & (wanted < self.shape[axis]))
            if not len(real):
                return cube
            at = self.offsets[axis] + self.steps[axis] * wanted[real]
            at = at.clip(0, values.shape[axis] - 1)
            low, high = int(np.floor(at.min())), int(np.ceil(at.max()))
            inside.append(slice(real[0], real[-1] + 1))
            reads.append(slice(low, high + 1))
            places.append(at - low)
        block = values[tuple(reads)].astype(np.float32)
        cube[tuple(inside)] = _interpolated(block, places, interpolation)
        return cube

    def back(
        self, values: NDArray[Any], shape: Triple, interpolation: Interpolation = "linear"
    ) -> tuple[NDArray[np.float32], tuple[slice, slice, slice]]:
        """Values on this grid at the voxels of the file that lie in it.

        Args:
            values: of the grid's shape.
            shape: (I, J, K) of the file.
            interpolation: as for `cut`.

        Returns:
            Values at the voxels of a part of the file, and that part.
        """
        part, places = [slice(0)] * 3, []
        for axis, (follows, offset, step) in enumerate(
            zip(self.axes, self.offsets, self.steps, strict=True)
        ):
            at = (np.arange(shape[follows]) - offset) / step
            # The grid reaches half a voxel beyond the centres of its outermost ones.
            real = np.flatnonzero((at >= -0.5) & (at < values.shape[axis] - 0.5))
            first, last = (real[0], real[-1]) if len(real) else (0, -1)
            part[follows] = slice(int(first), int(last) + 1)
            places.append(at[first : last + 1].clip(0, values.shape[axis] - 1))
        found = _interpolated(values.astype(np.float32), places, interpolation)
        order = np.argsort(self.axes)
        return np.ascontiguousarray(found.transpose(order)), (part[0], part[1], part[2])


def cube_grid(shape: Triple, affine: Affine, spacing: float) -> CubeGrid:
    """The grid of cubes of ``spacing`` mm over a volume, along the body's axes.

    Args:
        shape: (I, J, K) of the file.
        affine: (4, 4), voxels of the file to RAS mm.
        spacing: edge of a voxel in mm.
    """
    orientation = orientations.io_orientation(affine)  # type: ignore[no-untyped-call]
    millimetres = spacing_of(affine)
    axes, offsets, steps, counts = [0] * 3, [0.0] * 3, [0.0] * 3, [0] * 3
    for file_axis, (axis, direction) in enumerate(orientation.astype(int)):
        size = shape[file_axis]
        # As many as fit, so that nothing is made up; a single slice stays one.
        count = 1 if size == 1 else max(1, int(np.floor(size * millimetres[file_axis] / spacing)))
        step = direction * spacing / millimetres[file_axis]
        axes[axis], counts[axis], steps[axis] = file_axis, count, step
        offsets[axis] = (size - 1) / 2 - step * (count - 1) / 2
    return CubeGrid(_triple(axes), _triple(offsets), _triple(steps), _triple(counts))


def standardised(cube: NDArray[np.float32]) -> NDArray[np.float32]:
    """Z-scores: mean 0 and deviation 1 over the voxels above 0, as SAM-Med3D was trained.

    Voxels that are not above 0, those beyond the image among them, are shifted like the others.
    Where fewer than two are above 0, or all alike, all voxels count.
    """
    above = cube[cube > 0]
    counted = above if len(above) > 1 and above.std() > 0 else cube
    deviation = float(counted.std(ddof=1, dtype=np.float64)) or 1.0
    scores: NDArray[np.float32] = (cube - counted.mean(dtype=np.float64)) / deviation
    return scores.astype(np.float32)


def _interpolated(
    values: NDArray[np.float32], places: Sequence[NDArray[np.float64]], kind: Interpolation
) -> NDArray[np.float32]:
    """Values at the places of each axis; the axis that shrinks most goes first."""
    for axis in sorted(range(3), key=lambda a: len(places[a]) / max(1, values.shape[a])):
        at = places[axis]
        if kind == "nearest":
            values = values.take(np.floor(at + 0.5).astype(int), axis)
            continue
        low = np.floor(at).astype(int)
        weight = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        following = values.take(np.minimum(low + 1, values.shape[axis] - 1), axis)
        values = values.take(low, axis) * (1 - weight) + following * weight
    return values


def _triple(values: Any) -> Any:
    a, b, c = (value.item() if isinstance(value, np.generic) else value for value in values)
    return a, b, c

"""A label map on the voxels of an image that it was not written on: exactly, or nearest neighbour.

Files keep one grid in many ways: axes in another order or direction, only the part around the
object (DICOM SEG), digits rounded. What is one grid is decided by where its voxels lie, with a
quarter of a voxel for rounding.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from lib.imaging.affine import Affine, voxel_to_world, world_to_voxel

TOLERANCE = 0.25
"""Voxels by which centres of one grid may seem apart: quaternions and DICOM's decimals round."""

Shape = tuple[int, int, int]
Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True)
class _Steps:
    """How image voxels count along the axes of a label map.

    Attributes:
        axes: axis of the label map along which each axis of the image runs.
        signs: +1 or -1 for each axis of the image.
        starts: index in the label map, along that axis, of the image's voxel 0.
    """

    axes: Shape
    signs: Shape
    starts: Shape


def reoriented(
    labels: npt.NDArray[Kind], affine: Affine, grid: Affine, shape: Shape
) -> npt.NDArray[Kind] | None:
    """The label map in the axis order of an image with the same voxels.

    Args:
        labels: (I, J, K), whose axes may be permuted and flipped.
        affine: (4, 4) of the label map, to the same millimetres as ``grid``.
        grid: (4, 4) of the image.
        shape: of the image.

    Returns:
        An array of that shape, a view where possible; None where the voxels are not the same.
    """
    steps = _steps(affine, grid, shape)
    if steps is None or tuple(labels.shape[axis] for axis in steps.axes) != shape:
        return None
    ends = [(0 if s > 0 else n - 1) for s, n in zip(steps.signs, shape, strict=True)]
    if list(steps.starts) != ends:
        return None
    flips = tuple(slice(None, None, sign) for sign in steps.signs)
    return labels.transpose(steps.axes)[flips]


def nearest_on_grid(
    labels: npt.NDArray[Kind], affine: Affine, grid: Affine, shape: Shape
) -> npt.NDArray[Kind]:
    """The label map on an image's grid: each voxel gets the value at its centre, 0 outside.

    Args:
        labels: (I, J, K).
        affine: (4, 4) of the label map, to the same millimetres as ``grid``.
        grid: (4, 4) of the image.
        shape: of the image.

    Returns:
        An array of that shape, i fastest in memory. Exact where the voxels of both coincide.
    """
    result: npt.NDArray[Kind] = np.zeros(shape[::-1], labels.dtype).T
    steps = _steps(affine, grid, shape)
    if steps is None:
        _sample(labels, affine, grid, result)
        return result
    inside, source = [], []
    for axis, sign, start, length in zip(steps.axes, steps.signs, steps.starts, shape, strict=True):
        places = start + sign * np.arange(length)
        kept = (places >= 0) & (places < labels.shape[axis])
        inside.append(np.flatnonzero(kept))
        source.append(places[kept])
    result[np.ix_(*inside)] = labels.transpose(steps.axes)[np.ix_(*source)]
    return result


def _steps(affine: Affine, grid: Affine, shape: Shape) -> _Steps | None:
    """How the image counts through the label map; None where their voxels do not coincide."""
    corners = np.array(list(itertools.product(*((0, n - 1) for n in shape))), dtype=np.float64)
    if np.abs(voxel_to_world(grid, corners)).max() > 1e6:
        return None  # a kilometre away: no digits are left to compare
    linear = np.linalg.solve(affine[:3, :3], grid[:3, :3])
    turns = np.rint(linear)
    if (np.abs(turns).sum(axis=0) != 1).any() or (np.abs(turns).sum(axis=1) != 1).any():
        return None
    first = world_to_voxel(affine, grid[:3, 3])
    places = world_to_voxel(affine, voxel_to_world(grid, corners))
    if np.abs(places - (corners @ turns.T + np.rint(first))).max() > TOLERANCE:
        return None
    axes = [int(np.flatnonzero(turns[:, axis])[0]) for axis in range(3)]
    signs = [int(turns[axes[axis], axis]) for axis in range(3)]
    starts = [int(np.rint(first[axes[axis]])) for axis in range(3)]
    return _Steps(_three(axes), _three(signs), _three(starts))


def _three(numbers: list[int]) -> Shape:
    first, second, third = numbers
    return first, second, third


def _sample(
    labels: npt.NDArray[Kind], affine: Affine, grid: Affine, result: npt.NDArray[Kind]
) -> None:
    """Fill in the part of the image that the label map covers, slice by slice."""
    outside = itertools.product(*((-0.5, n - 0.5) for n in labels.shape))
    corners = world_to_voxel(grid, voxel_to_world(affine, np.array(list(outside))))
    low = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=0)) + 1, result.shape).astype(int)
    if (low >= high).any():
        return
    i, j = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]), indexing="ij")
    limits = np.array(labels.shape)
    for k in range(low[2], high[2]):
        voxels = np.stack([i, j, np.full_like(i, k)], axis=-1)
        places = np.floor(world_to_voxel(affine, voxel_to_world(grid, voxels)) + 0.5).astype(int)
        inside = ((places >= 0) & (places < limits)).all(axis=-1)
        a, b, c = places[inside].T
        result[i[inside], j[inside], k] = labels[a, b, c]

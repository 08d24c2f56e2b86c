"""The series that a DICOM SEG is made for: which file each slice of a label map lies on.

Slices are matched by position in space, never by the order of files or slices. Only headers are
read, so that it does not matter how the pixels are compressed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lib.errors import ImageError
from lib.imaging.affine import (
    LPS_TO_RAS,
    Affine,
    check_affine,
    spacing_of,
    voxel_to_world,
    world_to_voxel,
)
from lib.imaging.dicom_header import Plane, no_image, read_planes
from lib.imaging.dicom_order import choose_series, stack_planes
from lib.imaging.grid import Array, ReadLimits
from lib.imaging.label_grid import reoriented
from lib.imaging.seg_facts import is_uid

_SAME_MM = 0.01
"""A position in a file that differs by more from that of its slice is not taken over."""


@dataclass(frozen=True, eq=False)
class LabelledStack:
    """A label map on the planes of a series.

    Attributes:
        planes: K of them, in the order of the label map's slices.
        labels: (columns, rows, K).
        affine: (4, 4) RAS of ``labels``; its first axis runs along a row of the files.
        positions: (K, 3) LPS mm of the centre of each plane's first pixel.
        reviewed: slices of ``labels`` that were looked at.
    """

    planes: tuple[Plane, ...]
    labels: Array
    affine: Affine
    positions: npt.NDArray[np.float64]
    reviewed: frozenset[int]


def read_source(
    sources: Iterable[Path], labels: Array, affine: Affine, reviewed: Iterable[int]
) -> LabelledStack:
    """Bring a label map onto the planes of its series.

    Args:
        sources: the files of one series, in any order.
        labels: (I, J, K), whose axes may run against those of the files.
        affine: (4, 4) RAS of the label map.
        reviewed: slices k of the label map.

    Raises:
        ImageError: no image among the files, several series, files without UIDs, or a label map
            that does not lie on these planes.
    """
    planes, warnings = read_planes(sources, ReadLimits())
    if not planes:
        raise no_image("the series", warnings)
    stack = stack_planes(choose_series(planes, None))
    _check_uids(stack.planes)
    first = stack.planes[0]
    shape = (first.columns, first.rows, len(stack.planes))
    affine = check_affine(affine, "the label map")
    for grid in _grids(stack.planes, stack.affine, affine):
        if (turned := reoriented(labels, affine, grid, shape)) is not None:
            return LabelledStack(
                planes=stack.planes,
                labels=turned,
                affine=grid,
                positions=_positions(stack.planes, grid),
                reviewed=_moved(reviewed, labels.shape, affine, grid),
            )
    raise _another_grid(f"{' x '.join(map(str, labels.shape))} voxels", shape)


def _grids(planes: Sequence[Plane], stack: Affine, label: Affine) -> Iterator[Affine]:
    """Grids on which viewers may show these planes, the files' own first."""
    yield stack
    # ITK shows slices at uneven distances as far apart as they are in the mean; and what is
    # between single slices is anybody's guess.
    length = None
    if len(planes) == 1:
        length = spacing_of(label)[2]
    elif planes[0].position is not None and planes[-1].position is not None:
        way = np.linalg.norm(np.subtract(planes[-1].position, planes[0].position))
        length = float(way) / (len(planes) - 1)
    if length:
        even = stack.copy()
        even[:3, 2] *= length / spacing_of(stack)[2]
        yield even
    if all(plane.position is None for plane in planes):
        # Ultrasound and photographs state no place in space, and readers make up their own.
        yield label


def _positions(planes: Sequence[Plane], grid: Affine) -> npt.NDArray[np.float64]:
    """LPS mm of each plane: as the files state it, unless they disagree with the grid."""
    slices = np.array([(0, 0, k) for k in range(len(planes))])
    shown = voxel_to_world(LPS_TO_RAS @ grid, slices)
    if any(plane.position is None for plane in planes):
        return shown
    stated = np.array([plane.position for plane in planes])
    return stated if np.abs(stated - shown).max() <= _SAME_MM else shown


def _moved(
    reviewed: Iterable[int], shape: tuple[int, ...], affine: Affine, grid: Affine
) -> frozenset[int]:
    """Numbers that slices of the label map have on the grid."""
    slices = sorted(reviewed)
    if not slices:
        return frozenset()
    if slices[0] < 0 or slices[-1] >= shape[2]:
        raise ImageError(
            got=f"reviewed slices {slices[0]} to {slices[-1]}",
            allowed=f"0 to {shape[2] - 1}",
            todo="name slices of this image",
        )
    corners = np.array([[(0, 0, k), (shape[0] - 1, shape[1] - 1, k)] for k in slices])
    places = np.rint(world_to_voxel(grid, voxel_to_world(affine, corners)))[..., 2]
    if (places[:, 0] != places[:, 1]).any():
        raise _another_grid("slices across the planes of the files", shape)
    return frozenset(int(k) for k in places[:, 0])


def _check_uids(planes: Sequence[Plane]) -> None:
    for plane in planes:
        if not all(map(is_uid, (plane.sop_uid, plane.sop_class, plane.series_uid))):
            raise ImageError(
                got=f"{plane.path.name} without SOPInstanceUID, SOPClassUID or series",
                allowed="files that a segmentation can refer to",
                todo="fetch the series again",
            )


def _another_grid(got: str, shape: tuple[int, ...]) -> ImageError:
    return ImageError(
        got=f"a label map on another grid than the series ({got})",
        allowed=f"the {' x '.join(map(str, shape))} voxels of the series, in their place",
        todo="draw on this image, or resample the label map to it",
    )

"""Frames of a DICOM SEG put together into one label map on the SEG's own grid.

Millimetres are LPS, as in the file, but for the affine that comes out, which is RAS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from lib.errors import ImageError
from lib.imaging.affine import LPS_TO_RAS, Affine, check_affine, spacing_of
from lib.imaging.grid import ReadLimits
from lib.imaging.label_grid import TOLERANCE

Labels = npt.NDArray[np.uint16]
Vector = npt.NDArray[np.float64]
_SAME_MM = 1e-3
"""Spacings, and components of unit vectors, that differ by less are one."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame as the file describes it.

    Attributes:
        segment: ReferencedSegmentNumber, from 1.
        position: (3,) of the centre of its first pixel.
        along_row: (3,) unit vector from column to column.
        along_column: (3,) unit vector from row to row.
        spacing: millimetres between columns and between rows.
        distance: stated millimetres between planes, None where nothing is stated.
    """

    segment: int
    position: Vector
    along_row: Vector
    along_column: Vector
    spacing: tuple[float, float]
    distance: float | None

    @property
    def normal(self) -> Vector:
        """Unit vector along which planes are stacked."""
        return np.asarray(np.cross(self.along_row, self.along_column))


@dataclass(frozen=True, eq=False)
class Stack:
    """Frames put together.

    Attributes:
        labels: (columns, rows, planes) uint16; the value is the segment's number.
        affine: (4, 4) RAS.
        overlap: how often a later segment took a voxel from another one.
    """

    labels: Labels
    affine: Affine
    overlap: int


def stack_frames(
    frames: Sequence[Frame],
    masks: npt.NDArray[np.bool_],
    grid: Affine,
    limits: ReadLimits,
    name: str,
) -> Stack:
    """Paste all frames into one label map, in the order of the segments' numbers.

    Args:
        frames: F of them, at least one.
        masks: (F, rows, columns).
        grid: (4, 4) RAS affine of the image; its spacing counts where the file states none.
        limits: for the result, which frames far apart make larger than the file.
        name: of the file, for messages.

    Raises:
        ImageError: frames that do not lie on one grid, or a result beyond the limits.
    """
    distance = _plane_distance(frames, grid)
    steps = None if distance is None else _steps(frames, distance)
    if distance is None or steps is None:
        raise ImageError(
            got=f"{name}, whose planes make no regular stack",
            allowed="frames of one orientation and spacing, at equal distances",
            todo="export the segmentation on the image's own grid",
        )
    corner = steps.min(axis=0)
    starts = (steps - corner).astype(np.int64)
    rows, columns = masks.shape[1:]
    extent = starts.max(axis=0).tolist()
    shape = (extent[0] + columns, extent[1] + rows, extent[2] + 1)
    limits.check(shape, name)
    labels, overlap = _paste(frames, masks, starts, shape)
    first = frames[0]
    lps = np.eye(4)
    lps[:3, :3] = np.stack(
        [
            first.along_row * first.spacing[0],
            first.along_column * first.spacing[1],
            first.normal * distance,
        ],
        axis=1,
    )
    lps[:3, 3] = first.position + lps[:3, :3] @ corner
    return Stack(labels, check_affine(LPS_TO_RAS @ lps, name), overlap)


def _paste(
    frames: Sequence[Frame],
    masks: npt.NDArray[np.bool_],
    starts: npt.NDArray[np.int64],
    shape: tuple[int, int, int],
) -> tuple[Labels, int]:
    labels: Labels = np.zeros(shape[::-1], np.uint16)
    rows, columns = masks.shape[1:]
    overlap = 0
    for number in np.argsort([frame.segment for frame in frames], kind="stable").tolist():
        (u, v, w), mask, segment = starts[number], masks[number], frames[number].segment
        part = labels[w, v : v + rows, u : u + columns]
        taken = part[mask]
        overlap += int(np.count_nonzero((taken != 0) & (taken != segment)))
        part[mask] = segment
    return labels.transpose(2, 1, 0), overlap


def _steps(frames: Sequence[Frame], distance: float) -> Vector | None:
    """(F, 3) whole columns, rows and planes of each frame from the first; None off one grid."""
    first = frames[0]
    described = np.array([(*f.along_row, *f.along_column, *f.spacing) for f in frames])
    if not np.abs(described - described[0]).max() < _SAME_MM:
        return None
    axes = np.stack(
        [
            first.along_row / first.spacing[0],
            first.along_column / first.spacing[1],
            first.normal / distance,
        ]
    )
    places = np.array([frame.position - first.position for frame in frames]) @ axes.T
    steps: Vector = np.rint(places)
    # So written, numbers that are NaN are off the grid too.
    return steps if np.abs(places - steps).max() <= TOLERANCE else None


def _plane_distance(frames: Sequence[Frame], grid: Affine) -> float | None:
    """Millimetres between neighbouring planes of the stack; None where they are irregular.

    Not the smallest distance that occurs: where every second plane is empty and left out, that
    would be twice the true one. What is stated goes first, then the image's own distance.
    """
    normal = frames[0].normal
    heights = np.array([frame.position @ normal for frame in frames])
    planes = np.unique(np.rint((heights - heights.min()) / _SAME_MM) * _SAME_MM)
    directions = (LPS_TO_RAS @ grid)[:3, :3] / spacing_of(grid)
    parallel = int(np.argmax(np.abs(directions.T @ normal)))
    stated = [frame.distance for frame in frames[:1]]
    for distance in chain(stated, [spacing_of(grid)[parallel]], np.diff(planes)[:1].tolist()):
        if distance is None or not 0 < distance < np.inf:
            continue
        steps = np.rint(planes / distance)
        if np.abs(planes / distance - steps).max() <= TOLERANCE:
            # Rounded decimals add up over many planes.
            return float(planes[-1] / steps[-1]) if steps[-1] else float(distance)
    return None

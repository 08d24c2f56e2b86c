"""From the planes of one series to an ordered stack with an affine.

The grid is that of ITK's series reader, which viewers and MONAI Label use: k ascends along the
slice normal, the cross product of the row and the column direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.errors import ImageError
from lib.imaging.affine import LPS_TO_RAS, Affine, compose_affine
from lib.imaging.dicom_header import Plane

_AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_SAME = 1e-3
"""Tolerance for direction cosines, and in mm for pixel spacings and positions."""


@dataclass(frozen=True)
class Stack:
    """Planes in the order of k, with the affine (voxel -> RAS mm) of the whole."""

    planes: tuple[Plane, ...]
    affine: Affine
    warnings: tuple[str, ...]


def choose_series(planes: Sequence[Plane], series_uid: str | None) -> list[Plane]:
    """The planes of the one series to read.

    Raises:
        ImageError: several series and none chosen, or the chosen one is not there.
    """
    counts: dict[str, int] = {}
    for plane in planes:
        counts[plane.series_uid] = counts.get(plane.series_uid, 0) + 1
    if series_uid is None and len(counts) == 1:
        return list(planes)
    if series_uid in counts:
        return [plane for plane in planes if plane.series_uid == series_uid]
    listed = ", ".join(f"{uid} ({n} images)" for uid, n in sorted(counts.items()))
    raise ImageError(
        got=f"{len(counts)} series: {listed}"
        if series_uid is None
        else f"series {series_uid}, which is not among {listed}",
        allowed="one series",
        todo="name one of them by series_uid, or give each series a folder of its own",
    )


def stack_planes(planes: Sequence[Plane]) -> Stack:
    """Order the planes of one series (at least one) and find their affine.

    Planes that do not fit the largest group of equal size, orientation and pixel spacing are left
    out, as are repeated positions; see the warnings of the result.
    """
    warnings: list[str] = []
    group = _largest_group(planes, warnings)
    if group[0].orientation is None:
        warnings.append("no ImageOrientationPatient: taken as axial")
    if group[0].pixel_spacing is None:
        warnings.append("no PixelSpacing: 1 mm assumed")
    directions = _directions(group[0])
    group, locations = _sorted(group, directions[:, 2], warnings)
    step = _slice_step(group, locations, warnings)

    rows_apart, columns_apart = group[0].pixel_spacing or (1.0, 1.0)
    origin = group[0].position
    if origin is None:
        origin = tuple(directions[:, 2] * locations[0])
    lps = compose_affine((columns_apart, rows_apart, step), origin, directions)
    return Stack(tuple(group), LPS_TO_RAS @ lps, tuple(warnings))


def _largest_group(planes: Sequence[Plane], warnings: list[str]) -> list[Plane]:
    kept = [plane for plane in planes if not plane.localizer] or list(planes)
    if len(kept) < len(planes):
        warnings.append(f"left out {len(planes) - len(kept)} localizer image(s)")
    groups: list[list[Plane]] = []
    for plane in kept:
        for group in groups:
            if _fits(plane, group[0]):
                group.append(plane)
                break
        else:
            groups.append([plane])
    largest = max(groups, key=len)
    if len(groups) > 1:
        warnings.append(
            f"left out {len(kept) - len(largest)} of {len(kept)} images: other size, orientation "
            "or pixel spacing than most of the series"
        )
    return largest


def _fits(plane: Plane, other: Plane) -> bool:
    if (plane.rows, plane.columns, plane.samples) != (other.rows, other.columns, other.samples):
        return False
    return _close(plane.orientation, other.orientation) and _close(
        plane.pixel_spacing, other.pixel_spacing
    )


def _close(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(abs(a - b) <= _SAME for a, b in zip(one, other, strict=True))


def _directions(plane: Plane) -> npt.NDArray[np.float64]:
    """(3, 3) LPS unit vectors in columns: along i (a row), along j (a column), slice normal."""
    cosines = np.reshape(plane.orientation or _AXIAL, (2, 3))
    normal = np.cross(cosines[0], cosines[1])
    if np.linalg.norm(normal) < 0.5:
        raise ImageError(
            got=f"ImageOrientationPatient {plane.orientation} in {plane.path.name}",
            allowed="two perpendicular unit vectors",
            todo="export the series again, or repair its orientation",
        )
    directions = np.stack([cosines[0], cosines[1], normal], axis=1)
    return np.asarray(directions / np.linalg.norm(directions, axis=0))


def _sorted(
    planes: list[Plane], normal: npt.NDArray[np.float64], warnings: list[str]
) -> tuple[list[Plane], npt.NDArray[np.float64]]:
    """Planes by ascending location, one for each location; locations in mm along the normal.

    The location is ImagePositionPatient along the normal; where that is missing or the same for
    all, SliceLocation; else the InstanceNumber (and frame), counted in slice spacings.
    """
    planes = sorted(planes, key=lambda p: (p.instance, p.path.name, p.frame))
    locations = _locations(planes, normal)
    if locations is None:
        apart = planes[0].thickness or 1.0
        if len(planes) > 1:
            warnings.append(
                "no position that tells the slices apart: ordered by InstanceNumber, "
                f"{apart:g} mm assumed between them"
            )
        return planes, np.arange(len(planes)) * apart
    order = np.argsort(locations, kind="stable")
    ascending = locations[order]
    first = np.concatenate([[True], np.diff(ascending) > _SAME])
    if not first.all():
        warnings.append(
            f"left out {int((~first).sum())} of {len(planes)} images at a position that another "
            "image has already (several echoes or phases?): the first by InstanceNumber is kept"
        )
    return [planes[index] for index in order[first]], ascending[first]


def _locations(
    planes: Sequence[Plane], normal: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64] | None:
    positions = [plane.position for plane in planes if plane.position is not None]
    slice_locations = [p.slice_location for p in planes if p.slice_location is not None]
    candidates = (np.asarray(positions).reshape(-1, 3) @ normal, np.asarray(slice_locations))
    for candidate in candidates:
        complete = len(candidate) == len(planes)
        if complete and (len(planes) == 1 or np.ptp(candidate) > _SAME):
            return candidate
    return None


def _slice_step(
    planes: Sequence[Plane], locations: npt.NDArray[np.float64], warnings: list[str]
) -> float:
    """Millimetres between slices: the mean where they are even, the median where not."""
    if len(planes) == 1:
        if planes[0].thickness is None:
            warnings.append("no slice thickness: 1 mm assumed")
        return planes[0].thickness or 1.0
    gaps = np.diff(locations)
    median = float(np.median(gaps))
    if np.abs(gaps - median).max() > max(0.01, 0.01 * median):
        warnings.append(
            f"uneven slices, {gaps.min():g} to {gaps.max():g} mm apart (slices missing?): "
            f"the median of {median:g} mm is used"
        )
        return median
    return float(gaps.mean()) * _tilt_factor(planes, locations, warnings)


def _tilt_factor(
    planes: Sequence[Plane], locations: npt.NDArray[np.float64], warnings: list[str]
) -> float:
    """How much longer the way between slices is than their distance; 1 without gantry tilt.

    ITK puts the slices of a tilted gantry straight behind each other, as far apart as their
    positions are; the grid here is the same, so that a mask fits what the viewer shows.
    """
    first, last = planes[0].position, planes[-1].position
    if first is None or last is None:
        return 1.0
    way = float(np.linalg.norm(np.subtract(last, first)))
    factor = way / float(locations[-1] - locations[0])
    if not 1 + _SAME < factor < 2:
        return 1.0
    warnings.append("slices are shifted sideways (gantry tilt?): shown straight, as in ITK")
    return factor

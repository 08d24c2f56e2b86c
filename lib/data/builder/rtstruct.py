"""Contours of a DICOM RTSTRUCT (PS3.3, A.19) as label maps on the grid of their image.

A voxel belongs to a structure when its centre lies inside an odd number of contours of its slice:
a contour within another one cuts a hole. Contours must lie in the planes of the image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lib.errors import ImageError
from lib.imaging.affine import LPS_TO_RAS, Affine, world_to_voxel
from lib.imaging.grid import reading

Labels = NDArray[np.uint8]
DIGITS = 4
"""Decimals of a voxel that count."""

OFF_PLANE = 0.5
"""Slices that a contour may lie beside the plane of the nearest one."""


def read_rtstruct(
    path: Path, grid: Affine, shape: tuple[int, int, int]
) -> Iterator[tuple[Labels, dict[int, str]]]:
    """Label maps (I, J, K), i fastest in memory, and names of their values.

    Structures that overlap come in several maps, so that none loses a voxel. Structures without
    closed contours (points, isocentres) are passed over.

    Args:
        path: of the file.
        grid: (4, 4) of the image, voxel to RAS mm.
        shape: (I, J, K) of the image.

    Raises:
        ImageError: damaged, or contours across the planes of the image or beside all of it.
    """
    with reading(path, "RTSTRUCT"):
        dataset = pydicom.dcmread(path)
        names = {
            int(roi.ROINumber): str(roi.get("ROIName") or "").strip()
            for roi in dataset.StructureSetROISequence
        }
        contours = dataset.get("ROIContourSequence") or ()
        maps: list[tuple[Labels, dict[int, str]]] = []
        for roi in contours:
            planes = _planes(roi, grid, shape, path.name)
            if planes:
                _place(maps, planes, names.get(int(roi.ReferencedROINumber), ""), shape)
    yield from maps


def _place(
    maps: list[tuple[Labels, dict[int, str]]],
    planes: dict[int, NDArray[np.bool_]],
    name: str,
    shape: tuple[int, int, int],
) -> None:
    """Draw a structure into the first map on which it covers nothing."""
    for labels, names in maps:
        free = not any((labels[:, :, k].T[mask] != 0).any() for k, mask in planes.items())
        if free and len(names) < 255:
            break
    else:
        labels, names = np.zeros(shape[::-1], np.uint8).T, {}
        maps.append((labels, names))
    value = len(names) + 1
    names[value] = name
    for k, mask in planes.items():
        labels[:, :, k].T[mask] = value


def _planes(
    roi: Dataset, grid: Affine, shape: tuple[int, int, int], name: str
) -> dict[int, NDArray[np.bool_]]:
    """Slice k -> (J, I) bool."""
    found: dict[int, NDArray[np.bool_]] = defaultdict(lambda: np.zeros(shape[1::-1], bool))
    closed = [c for c in roi.get("ContourSequence") or () if _is_closed(c)]
    for contour in closed:
        points = np.asarray(contour.ContourData, np.float64).reshape(-1, 3)
        # Contours often run through centres of voxels, where rounding must not decide.
        voxels = np.round(world_to_voxel(LPS_TO_RAS @ grid, points), DIGITS)
        k = round(float(voxels[:, 2].mean()))
        if np.abs(voxels[:, 2] - k).max() > OFF_PLANE:
            raise ImageError(f"{name} with a contour across slices", "contours in the slices")
        if 0 <= k < shape[2]:
            found[k] ^= inside_polygon(voxels[:, :2], shape[1::-1])
    if closed and not found:
        raise ImageError(f"{name} with contours beside the image", "contours of this image")
    return dict(found)


def _is_closed(contour: Dataset) -> bool:
    kind = str(contour.get("ContourGeometricType") or "").strip()
    return kind in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR")


def inside_polygon(points: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels whose centre lies inside, by the even-odd rule.

    Args:
        points: (N, 2) x, y in pixels; pixel centres have whole numbers.
        shape: (H, W).
    """
    height, width = shape
    toggles = np.zeros((height, width + 1), np.int32)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        low, high = min(y0, y1), max(y0, y1)
        rows = np.arange(max(0, int(np.ceil(low))), min(height, int(np.ceil(high))))
        if rows.size:
            crossing = x0 + (rows - y0) * (x1 - x0) / (y1 - y0)
            columns = np.clip(np.ceil(crossing), 0, width).astype(int)
            toggles[rows, columns] += 1
    inside: NDArray[np.bool_] = np.cumsum(toggles[:, :-1], axis=1) % 2 == 1
    return inside

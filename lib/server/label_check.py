"""A label file as it came from a client: a label map on the image's own grid, or a sentence.

The files are those of `lib.imaging.volume.read_volume`, and ``.bin``: the values alone, one byte
for each voxel, i fastest, as the client of MONAI Label's OHIF extension sends them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lib.errors import ImageError, UnavailableError
from lib.imaging.affine import Affine
from lib.imaging.grid import Array
from lib.imaging.label_grid import reoriented
from lib.imaging.nifti import read_nifti_grid, write_nifti
from lib.imaging.volume import ReadLimits, read_volume

MAX_VALUE = 2**16 - 1
MAX_PRESENT = 1000
"""More different values than anybody draws: an image was sent as a label."""
RAW = ".bin"


@dataclass(frozen=True)
class Grid:
    """Where the voxels of an image are.

    Attributes:
        affine: (4, 4), voxel index -> RAS millimetres.
        shape: (I, J, K).
    """

    affine: Affine
    shape: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label map.

    Attributes:
        values: (I, J, K) uint8 or uint16, 0 where no label is.
        affine: (4, 4), voxel index -> RAS millimetres.
    """

    values: Array
    affine: Affine

    @cached_property
    def present(self) -> tuple[int, ...]:
        """Values that occur, ascending, without 0."""
        return tuple(value for value in _present(self.values) if value)

    def write(self, path: Path) -> None:
        """Write it as .nii.gz."""
        write_nifti(path, self.values, self.affine)


def grid_of(path: Path, limits: ReadLimits) -> Grid:
    """The grid of an image, without reading its pixels where the format allows that.

    Raises:
        ImageError: it cannot be read.
        NotFoundError: no such file.
    """
    if path.name.endswith((".nii", ".nii.gz")) and path.is_file():
        return Grid(*read_nifti_grid(path, limits))
    volume = read_volume(path, limits)
    return Grid(volume.affine, volume.shape)


def read_label_map(path: Path, grid: Grid | None, limits: ReadLimits) -> LabelMap:
    """Read a label file.

    Args:
        path: of the file.
        grid: of the image, in whose order of axes the label map is returned; None where the
            image cannot be had, so that the label map cannot be compared with it.
        limits: for the label map.

    Raises:
        ImageError: no label file, values that are no labels, or another grid than the image's.
        UnavailableError: values alone, without the image whose grid they are on.
    """
    if path.name.lower().endswith(RAW):
        return _read_raw(path, grid)
    volume = read_volume(path, limits)
    if volume.is_colour or (volume.array.dtype.kind == "f" and volume.warnings):
        raise _no_labels(path, "colours" if volume.is_colour else "numbers that are not finite")
    values = _as_values(path, volume.array)
    if grid is None:
        return LabelMap(values, volume.affine)
    turned = reoriented(values, volume.affine, grid.affine, grid.shape)
    if turned is None:
        same = volume.shape == grid.shape
        raise ImageError(
            got=f"a label map of {_sizes(volume.shape)} voxels"
            + (" at another place or spacing than the image's" if same else ""),
            allowed=f"a label map on the image's own grid of {_sizes(grid.shape)} voxels",
            todo="export the segmentation with the image as its reference geometry",
        )
    return LabelMap(turned, grid.affine)


def _read_raw(path: Path, grid: Grid | None) -> LabelMap:
    if grid is None:
        raise UnavailableError(
            got="a label without a header for an image that cannot be had now",
            allowed="a .nii.gz or .nrrd file, or an image that the server has opened before",
            todo="try again when the PACS answers; the label was NOT saved",
        )
    size, voxels = path.stat().st_size, int(np.prod(grid.shape))
    if size != voxels:
        raise ImageError(
            got=f"{size} bytes of label values",
            allowed=f"{voxels}, one for each voxel of {_sizes(grid.shape)}",
            todo="send the whole label map as uint8",
        )
    values = np.fromfile(path, np.uint8).reshape(grid.shape, order="F")
    return LabelMap(values, grid.affine)


def _as_values(path: Path, array: Array) -> Array:
    low, high = array.min(), array.max()
    if array.dtype.kind not in "iubf" or not (low >= 0 and high <= MAX_VALUE):
        raise _no_labels(path, f"values from {low} to {high}")
    kind = np.uint8 if high < 256 else np.uint16
    values: Array = array.astype(kind)
    if array.dtype.kind == "f" and not np.array_equal(values, array):
        raise _no_labels(path, "values that are no whole numbers")
    present = len(_present(values))
    if present > MAX_PRESENT:
        raise _no_labels(path, f"{present} different values")
    return values


def _present(values: Array) -> list[int]:
    """Values that occur, ascending; slice by slice, because counting needs eight times the room."""
    counts = np.zeros(MAX_VALUE + 1, np.int64)
    for k in range(values.shape[2]):
        counts += np.bincount(values[:, :, k].ravel(order="K"), minlength=MAX_VALUE + 1)
    return [int(value) for value in np.flatnonzero(counts)]


def _no_labels(path: Path, what: str) -> ImageError:
    return ImageError(
        got=f"{path.name} with {what}",
        allowed=f"a label map of whole numbers from 0 to {MAX_VALUE}, at most {MAX_PRESENT} "
        "different ones",
        todo="export the segmentation as a label map, not as an image",
    )


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))

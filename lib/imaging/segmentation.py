"""Label maps: built from one slice, written with the image's exact geometry, and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from lib.errors import ImageError
from lib.imaging.affine import Affine
from lib.imaging.grid import Array, ReadLimits
from lib.imaging.nifti import read_nifti, write_nifti
from lib.imaging.nrrd import (
    encode_nrrd,
    encode_nrrd_slices,
    read_nrrd,
    write_nrrd,
    write_nrrd_slices,
)

__all__ = [
    "encode_nrrd",
    "encode_nrrd_slices",
    "read_label",
    "slice_to_volume",
    "write_label",
    "write_nrrd",
    "write_nrrd_slices",
]

Labels = npt.NDArray[np.uint8]


def slice_to_volume(
    mask: Array, volume_shape: tuple[int, int, int], k: int, value: int = 1
) -> Labels:
    """A label map that is zero but for one slice.

    Args:
        mask: (H, W) of the slice; everything that is not 0 counts.
        volume_shape: (I, J, K) of the image; I = W and J = H.
        k: slice of the mask, 0 .. K - 1.
        value: 1 .. 255, written where the mask is set.

    Returns:
        (I, J, K) uint8, i fastest in memory.

    Raises:
        ValueError: a mask of another size, no such slice, or no such value.
    """
    i, j, n_slices = volume_shape
    if mask.shape != (j, i) or not 0 <= k < n_slices or not 1 <= value <= 255:
        raise ValueError(f"mask {mask.shape}, slice {k}, value {value} for volume {volume_shape}")
    # Zeroed pages come from the system without being touched: cheap for any size.
    labels = np.zeros((n_slices, j, i), dtype=np.uint8)
    labels[k][mask != 0] = value
    return labels.transpose(2, 1, 0)


def write_label(path: Path, array: Array, affine: Affine) -> None:
    """Write labels (I, J, K), whole numbers 0 .. 255, as .nrrd, .nii or .nii.gz by the name.

    Raises:
        ImageError: another name, or values that are no labels.
    """
    labels = _as_labels(array, path.name)
    if path.name.lower().endswith(".nrrd"):
        write_nrrd(path, labels, affine)
    elif path.name.lower().endswith((".nii", ".nii.gz")):
        write_nifti(path, labels, affine)
    else:
        raise _unknown_format(path)


def read_label(path: Path, limits: ReadLimits | None = None) -> tuple[Labels, Affine]:
    """Labels (I, J, K) uint8 and their RAS affine, of a .nrrd, .nii or .nii.gz file.

    Raises:
        ImageError: another format, damaged, beyond the limits, or values that are no labels.
    """
    limits = limits or ReadLimits()
    if path.name.lower().endswith(".nrrd"):
        volume = read_nrrd(path, limits)
    elif path.name.lower().endswith((".nii", ".nii.gz")):
        volume = read_nifti(path, limits)
    else:
        raise _unknown_format(path)
    return _as_labels(volume.array, path.name), volume.affine


def _as_labels(array: Array, name: str) -> Labels:
    labels = array.astype(np.uint8)
    if array.ndim != 3 or not np.array_equal(labels, array):
        raise ImageError(
            got=f"{name} with shape {array.shape} and values from {array.min()} to {array.max()}",
            allowed="a 3D label map of whole numbers from 0 to 255",
            todo="export the segmentation as a label map, not as an image",
        )
    return labels


def _unknown_format(path: Path) -> ImageError:
    return ImageError(
        got=f"label file {path.name}",
        allowed="a name that ends in .nrrd, .nii or .nii.gz",
        todo="rename or convert the file",
    )

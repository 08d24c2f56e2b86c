"""The volume in memory, the limits under which one is read, and what all readers share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.errors import ImageError, Samed2dError
from lib.imaging.affine import Affine, spacing_of

Array = npt.NDArray[Any]
"""Pixels or voxels of any real dtype."""


@dataclass(frozen=True, eq=False)
class Volume:
    """An image in the file's own voxel grid, with native (rescaled) intensities.

    Attributes:
        array: (I, J, K) grey, or (I, J, K, 3) colour (K is 1 for a picture); i = column, j = row,
            k = slice. Memory runs with i fastest, so that a slice is one contiguous block.
        affine: (4, 4) float64, voxel index -> RAS millimetres.
        modality: DICOM's Modality ("CT", "MR", ...); for formats that do not state it "CT" where
            the whole value range looks like Hounsfield units, else None.
        body_part: DICOM's BodyPartExamined, or None.
        warnings: sentences about repairs that were made while reading.
    """

    array: Array
    affine: Affine
    modality: str | None = None
    body_part: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j and k."""
        i, j, k = self.array.shape[:3]
        return i, j, k

    @property
    def n_slices(self) -> int:
        """Number of slices K."""
        return self.shape[2]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between voxels along i, j and k."""
        return spacing_of(self.affine)

    @property
    def is_colour(self) -> bool:
        """Whether a voxel holds red, green and blue."""
        return self.array.ndim == 4

    def slice(self, k: int) -> Array:
        """Slice k as an image (H, W) or (H, W, 3): H = J rows, W = I columns; a view.

        Raises:
            ImageError: k outside 0 .. K - 1.
        """
        if not 0 <= k < self.n_slices:
            raise ImageError(
                got=f"slice {k}",
                allowed=f"0 to {self.n_slices - 1}",
                todo="choose a slice of this image",
            )
        return np.swapaxes(self.array[:, :, k], 0, 1)


@dataclass(frozen=True)
class ReadLimits:
    """How large an image may be; checked on the header, before any pixel is decoded.

    Attributes:
        max_voxels: rows x columns x slices.
    """

    max_voxels: int = 1 << 30

    def check(self, shape: Sequence[int], name: str) -> None:
        """Pass, or say why an image of this shape is not opened.

        Args:
            shape: voxels along each axis.
            name: what to call the file in the message.

        Raises:
            ImageError: no voxels at all, or more than allowed.
        """
        sizes = " x ".join(str(n) for n in shape)
        if not shape or min(shape) < 1:
            raise ImageError(
                got=f"{name} with {sizes or 'no'} voxels",
                allowed="at least one voxel along each axis",
                todo="export the image again",
            )
        if math.prod(shape) > self.max_voxels:
            raise ImageError(
                got=f"{name} with {sizes} = {math.prod(shape)} voxels",
                allowed=f"at most {self.max_voxels} voxels (option max_voxels)",
                todo="crop or downsample the image, or raise the option if memory allows",
            )


def finite_floats(array: Array, name: str) -> tuple[Array, tuple[str, ...]]:
    """Floats as float32 with NaN and infinity replaced by the smallest finite value.

    Whole numbers pass unchanged. The smallest value is the background in almost every image, and
    unlike 0 it does not light up in a CT.

    Returns:
        The array, and a warning where something was replaced.

    Raises:
        ImageError: not one finite voxel.
    """
    if array.dtype.kind != "f":
        return array, ()
    with np.errstate(over="ignore"):
        values = np.asarray(array, dtype=np.float32)
    lowest, highest = values.min(), values.max()
    if np.isfinite(lowest) and np.isfinite(highest):
        return values, ()
    finite = np.isfinite(values)
    if not finite.any():
        raise ImageError(
            got=f"{name} without a single finite voxel",
            allowed="numbers",
            todo="export the image again",
        )
    count = int(values.size - np.count_nonzero(finite))
    replaced = np.where(finite, values, values[finite].min())
    return replaced, (f"{count} NaN or infinite voxels replaced by the smallest value",)


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into one ImageError.

    Args:
        path: the file; its name alone is mentioned, never its folder.
        kind: the format, for the message.
    """
    try:
        yield
    except Samed2dError:
        raise
    except Exception as error:  # each library has its own zoo, down to struct.error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        detail = (lines[-1] if lines else type(error).__name__).replace(str(path), path.name)
        raise ImageError(
            got=f"{path.name}, which cannot be read as {kind} ({detail.rstrip('.')})",
            allowed=f"a complete {kind} file",
            todo="copy or export the file again",
        ) from error


def spatial_shape(shape: Sequence[int], name: str) -> tuple[int, int, int]:
    """(I, J, K) of a header's shape; 2D gets K = 1, trailing axes of length 1 are dropped.

    Raises:
        ImageError: a time series or another fourth axis.
    """
    sizes = [int(n) for n in shape]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) > 3 or len(sizes) < 2:
        raise ImageError(
            got=f"{name} of shape {tuple(shape)}",
            allowed="a 2D or 3D image (further axes of length 1 are accepted)",
            todo="export one time point or one channel as a 3D image",
        )
    i, j, k = (*sizes, 1)[:3]
    return i, j, k

"""Between the pixels of a 2D image and the square frame of the network, and back.

Points are (x, y) in pixels (x = column, y = row), boxes (x0, y0, x1, y1). Images are (H, W) or
(H, W, 3), row first. Millimetres and voxel indices are in `lib.imaging.affine`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from lib.errors import ImageError
from lib.imaging.affine import spacing_of, voxel_to_world, world_to_voxel
from lib.imaging.grid import Array

__all__ = [
    "Frame",
    "PadFrame",
    "resize_image",
    "spacing_of",
    "voxel_to_world",
    "world_to_voxel",
]

Points = npt.NDArray[np.float64]


def _check_size(height: int, width: int, size: int) -> None:
    if min(height, width, size) < 1:
        raise ImageError(
            got=f"an image of {height} rows x {width} columns for a frame of {size}",
            allowed="at least one row and one column",
            todo="choose another slice or export the image again",
        )


def _scaled(points: npt.ArrayLike, factors: tuple[float, float]) -> Points:
    values = np.asarray(points, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] not in (2, 4):
        raise ValueError(f"points (..., 2) or boxes (..., 4) expected, got shape {values.shape}")
    return np.asarray(values * np.tile(factors, values.shape[-1] // 2))


@dataclass(frozen=True)
class Frame:
    """One 2D image stretched to fill a square network frame; the aspect ratio is not kept.

    The rule of SAM-Med2D's predictor: x scales by size / width, y by size / height (also for
    images smaller than the frame).
    """

    height: int
    width: int
    size: int = 256

    def __post_init__(self) -> None:
        """Refuse an empty image (ImageError)."""
        _check_size(self.height, self.width, self.size)

    def to_network(self, points: npt.ArrayLike) -> Points:
        """Points (..., 2) or boxes (..., 4) of the image in network pixels, float64."""
        return _scaled(points, (self.size / self.width, self.size / self.height))

    def to_image(self, points: npt.ArrayLike) -> Points:
        """Points (..., 2) or boxes (..., 4) of the network in image pixels, float64."""
        return _scaled(points, (self.width / self.size, self.height / self.size))


@dataclass(frozen=True)
class PadFrame:
    """The frame of SAM-Med2D's training and test path (not of its predictor).

    An image with both sides smaller than the frame is padded with zeros around its centre
    (top = floor((size - height) / 2)); any other image is stretched as by `Frame`, with nearest
    neighbour. Needed to reproduce published numbers.
    """

    height: int
    width: int
    size: int = 256

    def __post_init__(self) -> None:
        """Refuse an empty image (ImageError)."""
        _check_size(self.height, self.width, self.size)

    @property
    def pads(self) -> bool:
        """Whether the image is padded (True) or stretched (False)."""
        return self.height < self.size and self.width < self.size

    @property
    def top(self) -> int:
        """Rows of padding above the image; 0 where it is stretched."""
        return (self.size - self.height) // 2 if self.pads else 0

    @property
    def left(self) -> int:
        """Columns of padding left of the image; 0 where it is stretched."""
        return (self.size - self.width) // 2 if self.pads else 0

    def fit(self, image: Array) -> Array:
        """Image (H, W[, C]) or mask (H, W) in the frame: (size, size[, C]), same dtype.

        The published path normalises first and pads afterwards, so padding is zero in the
        normalised image: pass the normalised image.
        """
        if image.shape[:2] != (self.height, self.width):
            raise ValueError(f"image {image.shape[:2]} in a frame for {self.height, self.width}")
        if not self.pads:
            return resize_image(image, self.size, mode="nearest")
        framed = np.zeros((self.size, self.size, *image.shape[2:]), dtype=image.dtype)
        framed[self._window] = image
        return framed

    def crop(self, framed: Array) -> Array:
        """The image's part of a padded (size, size[, C]) array; ValueError where it is stretched.

        The way back of a stretched image is an interpolation of logits, which belongs to the
        inference layer.
        """
        if not self.pads:
            raise ValueError("a stretched image has no padding to cut away")
        return framed[self._window]

    def to_network(self, points: npt.ArrayLike) -> Points:
        """Points (..., 2) or boxes (..., 4) of the image in network pixels, float64."""
        if not self.pads:
            return Frame(self.height, self.width, self.size).to_network(points)
        values = _scaled(points, (1.0, 1.0))
        return np.asarray(values + np.tile((self.left, self.top), values.shape[-1] // 2))

    def to_image(self, points: npt.ArrayLike) -> Points:
        """Points (..., 2) or boxes (..., 4) of the network in image pixels, float64."""
        if not self.pads:
            return Frame(self.height, self.width, self.size).to_image(points)
        values = _scaled(points, (1.0, 1.0))
        return np.asarray(values - np.tile((self.left, self.top), values.shape[-1] // 2))

    @property
    def _window(self) -> tuple[slice, slice]:
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )


def resize_image(image: Array, size: int, mode: Literal["area", "nearest"] = "area") -> Array:
    """Image (H, W) or (H, W, C) stretched to (size, size[, C]); same dtype.

    Args:
        image: any real dtype. Whole-number types are rounded to the nearest value.
        size: rows and columns of the result.
        mode: ``nearest`` takes pixel floor(i * H / size), the rule of cv2 and torch, which the
            published model was trained with. ``area`` averages exactly the area that a result
            pixel covers along an axis that shrinks (no aliasing, the mean is kept), and
            interpolates linearly between pixel centres along an axis that grows.

    Raises:
        ImageError: an image without pixels.
        ValueError: an unknown mode or a shape that is no image.
    """
    if image.ndim not in (2, 3):
        raise ValueError(f"image (H, W) or (H, W, C) expected, got shape {image.shape}")
    height, width = image.shape[:2]
    _check_size(height, width, size)
    if mode == "nearest":
        rows = np.arange(size) * height // size
        columns = np.arange(size) * width // size
        return np.asarray(image[rows[:, None], columns])
    if mode != "area":
        raise ValueError(f"mode 'area' or 'nearest' expected, got {mode!r}")
    if (height, width) == (size, size):
        return image.copy()

    exact = image.dtype.itemsize <= 2 or image.dtype == np.float32
    work: Array = image.astype(np.float32 if exact else np.float64)
    work = (_axis_weights(height, size) @ work.reshape(height, -1)).reshape(size, width, -1)
    work = work.transpose(1, 0, 2).reshape(width, -1)
    work = (_axis_weights(width, size) @ work).reshape(size, size, -1).transpose(1, 0, 2)
    if image.dtype.kind != "f":
        work = np.rint(work)
    resized: Array = work.reshape(size, size, *image.shape[2:]).astype(image.dtype, order="C")
    return resized


@lru_cache(maxsize=64)
def _axis_weights(length: int, size: int) -> sparse.csr_array:
    """Sparse (size, length) matrix that resamples one axis; every row sums to 1."""
    scale = length / size
    if size < length:
        edges = np.arange(size + 1) * scale
        first = np.floor(edges[:-1]).astype(int)
        columns = first[:, None] + np.arange(int(np.ceil(scale)) + 1)
        covered = np.minimum(columns + 1, edges[1:, None]) - np.maximum(columns, edges[:-1, None])
        weights = np.clip(covered, 0.0, None) / scale
    else:
        centres = np.clip((np.arange(size) + 0.5) * scale - 0.5, 0, length - 1)
        first = np.floor(centres).astype(int)
        columns = np.stack([first, first + 1], axis=1)
        weights = np.stack([1 - (centres - first), centres - first], axis=1)
    rows = np.repeat(np.arange(size), columns.shape[1])
    entries = (weights.ravel(), (rows, np.minimum(columns, length - 1).ravel()))
    matrix = sparse.csr_array(entries, shape=(size, length), dtype=np.float32)
    matrix.eliminate_zeros()
    return matrix

"""The rules of SAM-Med2D for a labelled volume: which slices, which masks, which grey values.

Cheng et al. 2023 (arXiv:2308.16184), section 3.1: grey values of a volume to [0, 255]; slices along
x, y and z; none whose shorter side is less than half the longer one; one mask for each connected
component of each class, of at least 0.153 % of the slice; of 2D images only the range is checked.

The published demo images run from 0 to 254, which is what truncation after ``(x - min) /
(max - min + eps) * 255`` gives; so it is done here. Components touch at edges or corners, and
count in the order in which a scan along the rows meets them. Slices without a mask and slices of
one grey value are left out. Pure numpy and scipy; no file is touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lib.data.builder.naming import FLAT, place_of
from lib.data.pool import MIN_AREA_SHARE
from lib.errors import ImageError
from lib.imaging.affine import LPS_TO_RAS, Affine
from lib.prompts.components import component_areas

EPSILON = 1e-8
TOO_LONG = "slices whose shorter side is less than half the longer one"
ONE_GREY = "slices of a single grey value"
NO_MASK = "slices without a mask of sufficient size"
TOO_SMALL = "parts of a mask under 0.153 % of the slice"

Pixels = NDArray[np.uint8]
Labels = NDArray[Any]
"""Whole numbers."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A label map of a case; overlapping objects lie in several.

    Attributes:
        labels: (I, J, K) whole numbers, 0 is nothing.
        ids: value -> class id; a value without one is passed over.
    """

    labels: Labels
    ids: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class Part:
    """One object of a slice: a connected component.

    Attributes:
        class_id: four digits.
        instance: counted within class and slice from 0.
        box: rows and columns.
        inside: bool, of the size of the box.
    """

    class_id: str
    instance: int
    box: tuple[slice, slice]
    inside: NDArray[np.bool_]

    def mask(self, shape: tuple[int, int]) -> Pixels:
        """0 and 255 on (H, W)."""
        whole = np.zeros(shape, np.uint8)
        whole[self.box][self.inside] = 255
        return whole


@dataclass(frozen=True, eq=False)
class Picture:
    """A slice that is kept.

    Attributes:
        place: "x_0006", or "2d_none".
        pixels: (H, W, 3).
        parts: at least one.
    """

    place: str
    pixels: Pixels
    parts: tuple[Part, ...]


@dataclass
class Skips:
    """How much was left out, by reason; filled while pictures are made."""

    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Greys:
    """How values of a volume become 8 bit; None as range: by slice.

    Attributes:
        lowest: of the volume.
        highest: of the volume.
        table: for whole numbers of up to 16 bit, the grey value of each from `lowest` on.
    """

    lowest: float
    highest: float
    table: Pixels | None = None

    @classmethod
    def of(cls, values: NDArray[np.generic]) -> Greys:
        """Those of an array with any shape."""
        lowest, highest = values.min(), values.max()
        if values.dtype.kind in "iu" and int(highest) - int(lowest) < 1 << 16:
            every = np.arange(int(lowest), int(highest) + 1)
            table = stretch(every, float(lowest), float(highest))
            return cls(float(lowest), float(highest), table)
        return cls(float(lowest), float(highest))

    def of_slice(self, values: NDArray[np.generic]) -> Pixels:
        """8 bit, the same shape."""
        if self.table is not None:
            offsets = np.subtract(values, int(self.lowest), dtype=np.int64, casting="unsafe")
            return np.asarray(self.table[offsets])
        return stretch(values, self.lowest, self.highest)


def stretch(values: NDArray[np.generic], lowest: float, highest: float) -> Pixels:
    """Lowest to 0, highest to 254 (all but 255, truncated); the same shape."""
    scaled = (values.astype(np.float64) - lowest) / (highest - lowest + EPSILON) * 255
    return scaled.astype(np.uint8)


def to_lps(array: NDArray[np.generic], affine: Affine) -> NDArray[np.generic]:
    """The volume (I, J, K[, 3]) with axes in the order left, back, up; a view.

    Args:
        array: in the file's own order.
        affine: (4, 4), voxel to RAS mm; an oblique volume takes the nearest axes.
    """
    linear = (LPS_TO_RAS @ affine)[:3, :3]
    linear = linear / np.linalg.norm(linear, axis=0)
    axes, flips = [0, 0, 0], [False] * 3
    strength = np.abs(linear)
    for _ in range(3):
        world, axis = (int(n) for n in np.unravel_index(strength.argmax(), (3, 3)))
        axes[world], flips[world] = axis, bool(linear[world, axis] < 0)
        strength[world], strength[:, axis] = -1, -1
    turned = array.transpose(*axes, *range(3, array.ndim))
    return turned[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


def slice_volume(
    array: NDArray[np.generic],
    layers: Sequence[Layer],
    axes: str,
    by_slice: bool,
    skips: Skips,
) -> Iterator[Picture]:
    """All pictures of a volume, one after the other.

    Args:
        array: (I, J, K), native grey values, finite.
        layers: on the same grid.
        axes: of "xyz", which are the axes of the array.
        by_slice: stretch each slice by itself.
        skips: counts what is left out.

    Raises:
        ImageError: colour, or another grid.
    """
    if array.ndim != 3 or any(layer.labels.shape != array.shape for layer in layers):
        shapes = ", ".join(str(layer.labels.shape) for layer in layers)
        raise ImageError(f"a volume {array.shape} with labels {shapes}", "one grid, and grey")
    greys = None if by_slice else Greys.of(array)
    for axis in axes:
        number = "xyz".index(axis)
        shape = np.delete(array.shape, number)
        if 2 * shape.min() < shape.max():
            skips.counts[TOO_LONG] += array.shape[number]
            continue
        for index in range(array.shape[number]):
            parts = tuple(
                find_parts([(_cut(la.labels, number, index), la.ids) for la in layers], skips)
            )
            if not parts:
                skips.counts[NO_MASK] += 1
                continue
            values = _cut(array, number, index)
            if values.min() == values.max():
                skips.counts[ONE_GREY] += 1
                continue
            grey = (greys or Greys.of(values)).of_slice(values)
            yield Picture(place_of(axis, index), np.repeat(grey[:, :, None], 3, axis=2), parts)


def flat_picture(
    pixels: NDArray[np.generic],
    layers: Sequence[tuple[Labels, Mapping[int, str]]],
    stretched: bool,
    skips: Skips,
) -> Iterator[Picture]:
    """The picture of a 2D image, or nothing. Its sides may be of any length.

    Args:
        pixels: (H, W) or (H, W, 3).
        layers: label maps (H, W), and class ids of their values.
        stretched: to 8 bit, as slices are; else pixels must be 8 bit and stay as they are.
        skips: counts what is left out.

    Raises:
        ImageError: pixels that are no numbers, not 8 bit though they must be, or another shape of
            a label map.
    """
    _refuse_other_than_8_bit(pixels, stretched)
    if any(labels.shape != pixels.shape[:2] for labels, _ in layers):
        raise ImageError(f"an image {pixels.shape} with labels of another shape", "one grid")
    parts = tuple(find_parts(layers, skips))
    if not parts or pixels.min() == pixels.max():
        skips.counts[ONE_GREY if parts else NO_MASK] += 1
        return
    grey = Greys.of(pixels).of_slice(pixels) if stretched else pixels.astype(np.uint8)
    colour = grey if grey.ndim == 3 else np.repeat(grey[:, :, None], 3, axis=2)
    yield Picture(FLAT, colour, parts)


def _refuse_other_than_8_bit(pixels: NDArray[np.generic], stretched: bool) -> None:
    if pixels.dtype == np.uint8:
        return
    if not np.isfinite(pixels.astype(np.float64)).all():
        raise ImageError("a 2D image with pixels that are no numbers", "numbers", "repair it")
    if stretched:
        return
    whole = pixels.dtype.kind in "iu" or np.array_equal(pixels, np.rint(pixels.astype(np.float64)))
    if not whole or pixels.min() < 0 or pixels.max() > 255:
        raise ImageError(
            got=f"a 2D image with values from {pixels.min()} to {pixels.max()}",
            allowed="whole numbers from 0 to 255",
            todo="convert it in a way that suits it, or stretch it with intensity: slice",
        )


def find_parts(layers: Sequence[tuple[Labels, Mapping[int, str]]], skips: Skips) -> Iterator[Part]:
    """Connected components of sufficient size of a slice.

    Args:
        layers: label maps (H, W), and class ids of their values.
        skips: counts those that are too small.
    """
    instances: Counter[str] = Counter()
    for labels, ids in layers:
        smallest = MIN_AREA_SHARE * labels.size
        for value, box in _boxes(labels, ids):
            components, areas = component_areas(labels[box] == value)
            kept = np.flatnonzero(areas >= smallest).tolist()
            skips.counts.update(
                {TOO_SMALL: len(areas) - len(kept)} if len(kept) < len(areas) else {}
            )
            within = ndimage.find_objects(components) if kept else []
            for place in kept:
                inside = components[within[place]] == place + 1
                class_id = ids[value]
                yield Part(class_id, instances[class_id], _shifted(within[place], box), inside)
                instances[class_id] += 1


def _shifted(inner: tuple[slice, slice], outer: tuple[slice, slice]) -> tuple[slice, slice]:
    """A box within another one, on the whole slice."""
    (rows, columns), (top, left) = inner, (outer[0].start, outer[1].start)
    return (
        slice(rows.start + top, rows.stop + top),
        slice(columns.start + left, columns.stop + left),
    )


def _boxes(labels: Labels, ids: Mapping[int, str]) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Value, and rows and columns of all its pixels, of the values that have a class."""
    if not labels.any():
        return
    found = ndimage.find_objects(labels.astype(np.int32))
    for value, box in enumerate(found, start=1):
        if box is not None and value in ids:
            yield value, box


def _cut(array: NDArray[Any], number: int, index: int) -> NDArray[Any]:
    """A slice with its first axis along the columns: (H, W).

    Not by np.take, which first copies a whole volume whose memory runs with i fastest.
    """
    return np.ascontiguousarray(np.moveaxis(array, number, 0)[index].T)

"""One 2D image, or a part of one, as the network is to see it; its content is its name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lib.imaging.intensity import normalise_slice

Crop = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in pixels of the whole image, x1 and y1 not included."""


@dataclass(frozen=True, eq=False)
class SliceView:
    """An image with all that decides how the network sees it.

    Attributes:
        pixels: (H, W) or (H, W, 3) of the whole image, native intensities; not to be written to.
        intensity: how they become 8 bit, see `lib.imaging.intensity`.
        modality: DICOM Modality, None where unknown.
        body_part: DICOM BodyPartExamined, None where unknown.
        crop: the part that is looked at, None for all of it. Grey values are prepared over the
            whole image in either case, so a crop is never brighter than its surroundings.
        slab: pixels of all slices of the slab that is encoded together, its own among them; empty
            where it is encoded alone.
        place: its own number among them.
    """

    pixels: NDArray[np.generic]
    intensity: str = "auto"
    modality: str | None = None
    body_part: str | None = None
    crop: Crop | None = None
    slab: tuple[NDArray[np.generic], ...] = ()
    place: int = 0

    @property
    def height(self) -> int:
        """Rows of the part that is looked at."""
        return self.pixels.shape[0] if self.crop is None else self.crop[3] - self.crop[1]

    @property
    def width(self) -> int:
        """Columns of the part that is looked at."""
        return self.pixels.shape[1] if self.crop is None else self.crop[2] - self.crop[0]

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hexadecimal of everything above: equal views have equal names."""
        whole = self._content.copy()
        facts = (
            self.pixels.shape,
            self.pixels.dtype.str,
            *(self.intensity, self.modality, self.body_part, self.crop),
        )
        whole.update(repr(facts).encode())
        if self.slab:
            whole.update(f"slice {self.place} of {len(self.slab)}".encode())
            for pixels in self.slab:
                whole.update(np.ascontiguousarray(pixels).data)
        return whole.hexdigest()

    @cached_property
    def _content(self) -> hashlib._Hash:
        """Of the pixels of the whole image; not to be updated."""
        return hashlib.sha256(np.ascontiguousarray(self.pixels).data)

    def image8(self) -> NDArray[np.uint8]:
        """The part that is looked at, as 8 bit RGB (height, width, 3).

        Raises:
            ImageError: pixels that are no image.
        """
        image = normalise_slice(self.pixels, self.intensity, self.modality, self.body_part)
        if self.crop is None:
            return image
        x0, y0, x1, y1 = self.crop
        return image[y0:y1, x0:x1]

    def together(self) -> tuple[SliceView, ...]:
        """The views that are encoded together with this one, in order; itself where it is alone."""
        if not self.slab:
            return (self,)
        return tuple(
            self if place == self.place else replace(self, pixels=pixels, place=place)
            for place, pixels in enumerate(self.slab)
        )

    def cropped(self, crop: Crop) -> SliceView:
        """The same image, looked at through a window.

        Raises:
            ValueError: an empty window, or one that reaches beyond the image.
        """
        x0, y0, x1, y1 = crop
        height, width = self.pixels.shape[:2]
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(f"crop {crop} of an image of {height} rows and {width} columns")
        part = replace(self, crop=crop)
        # It has the same pixels, and to hash those of a large image takes longer than a decode.
        part.__dict__["_content"] = self._content
        return part


def slab_of(k: int, total: int, depth: int) -> range:
    """The slices that are encoded together with slice k of a volume.

    Slabs follow each other from the first slice on, so that each slice is encoded once; the last
    one begins earlier instead of being shorter. A slice of it that belongs to the slab before stays
    there.

    Args:
        k: slice.
        total: slices of the volume.
        depth: slices of a slab; all of a volume that has fewer.
    """
    first = min(k // depth * depth, max(0, total - depth))
    return range(first, min(first + depth, total))

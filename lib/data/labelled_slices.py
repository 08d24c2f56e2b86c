"""Labelled slices of volumes: what a training learns from, and what was left out and why.

The rules are SAM-Med2D's (Cheng et al. 2023, arXiv:2308.16184, section 3.1): the shorter side of a
slice at least half the longer one; one target for each connected component of each label; targets
of 0.153 % to 70 % of the slice. Nothing here raises because of a bad label: it is left out with a
reason, and the others are learned from.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lib.data.pool import MAX_AREA_SHARE, MIN_AREA_SHARE, LabelledImage
from lib.imaging.volume import Volume
from lib.prompts.components import component_areas

EMPTY = "without any label"
OTHER_GRID = "on another grid than the image"
NO_NUMBERS = "with values that are no labels (whole numbers from 0 to 65535)"
NO_LABEL_MAP = "with so many values that it is rather an image"
TOO_LONG = "on a slice more than twice as long as wide"
TOO_SMALL = "too small to click on"
TOO_LARGE = "covering nearly all of the slice"
NOTHING_HERE = "reviewed, with nothing on it to click on"

MAX_VALUES = 255
"""More different values on one slice than anybody draws there: an image was saved as a label."""

_Labels = NDArray[np.uint16]


@dataclass(frozen=True)
class Skipped:
    """Something that is not learned from.

    Attributes:
        image: its name.
        slice: k, or None for the whole image.
        label: name of the label, empty for all of them.
        reason: a phrase that completes "n labels ..."; the same for all of one kind.
        detail: a sentence about this one, empty where the reason says it all.
    """

    image: str
    slice: int | None
    label: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class LabelledSlices:
    """Labelled slices of one or more images.

    Attributes:
        images: one for each slice with targets.
        skipped: what was left out; the components of a label on a slice that were left out for
            one reason are one entry.
    """

    images: tuple[LabelledImage, ...]
    skipped: tuple[Skipped, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hexadecimal of names, pixels, masks and labels, in any order of the images."""
        parts = sorted(_digest(image) for image in self.images)
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def counts(self) -> dict[str, int]:
        """How often each reason occurs, most frequent first."""
        return dict(Counter(skipped.reason for skipped in self.skipped).most_common())

    @classmethod
    def joined(cls, parts: Iterable[LabelledSlices]) -> LabelledSlices:
        """Those of several images together."""
        listed = list(parts)
        return cls(
            tuple(image for part in listed for image in part.images),
            tuple(skipped for part in listed for skipped in part.skipped),
        )


def slices_of(
    image: str,
    patient: str,
    volume: Volume,
    labels: NDArray[np.generic],
    names: Mapping[int, str],
    reviewed: frozenset[int] = frozenset(),
) -> LabelledSlices:
    """The slices of one image that carry labels.

    Args:
        image: its name.
        patient: whose it is.
        volume: its pixels.
        labels: (I, J, K) label map on the image's grid; 0 is no label.
        names: label value -> name; a value without one is called "label 3".
        reviewed: slices that somebody has looked at, also those without a label.

    Returns:
        Copies, so that the volume itself need not stay in memory.
    """
    values = label_values(volume, labels)
    if not isinstance(values, str) and not (values.any() or reviewed):
        values = EMPTY
    if isinstance(values, str):
        return LabelledSlices((), (Skipped(image, None, "", values),))
    labelled = np.flatnonzero(values.any(axis=(0, 1))).tolist()
    looked_at = [k for k in reviewed if 0 <= k < volume.n_slices]
    return LabelledSlices.joined(
        _slice_of(image, patient, volume, values, k, names) for k in sorted({*labelled, *looked_at})
    )


def label_values(volume: Volume, labels: NDArray[np.generic]) -> _Labels | str:
    """The label map as whole numbers (I, J, K), or why it cannot be used."""
    flat = (*labels.shape, 1)[:3] if labels.ndim in (2, 3) else labels.shape
    if labels.ndim == 4 and labels.shape[-1] == 1:
        flat = labels.shape[:3]
    if flat != volume.shape:
        return OTHER_GRID
    if labels.dtype.kind not in "iubf":
        return NO_NUMBERS
    # So written, NaN is refused too.
    if not (labels.min() >= 0 and labels.max() < 2**16):
        return NO_NUMBERS
    values = labels.astype(np.uint16, copy=False).reshape(volume.shape)
    if labels.dtype.kind == "f" and not np.array_equal(values, labels.reshape(volume.shape)):
        return NO_NUMBERS
    return values


def _slice_of(
    image: str,
    patient: str,
    volume: Volume,
    values: _Labels,
    k: int,
    names: Mapping[int, str],
) -> LabelledSlices:
    labels = np.ascontiguousarray(values[:, :, k].T)
    boxes = _boxes(labels)
    reason = _refusal(labels.shape, len(boxes))
    if reason is not None:
        return LabelledSlices((), (Skipped(image, k, "", reason),))
    masks: list[NDArray[np.bool_]] = []
    kept: list[str] = []
    skipped: dict[tuple[str, str], Skipped] = {}
    for name, mask, why in _targets(labels, boxes, names):
        if mask is not None:
            masks.append(mask)
            kept.append(name)
        else:
            skipped[name, why] = Skipped(image, k, name, why)
    found = LabelledImage(
        name=f"{image}#k{k:04d}",
        patient=patient,
        image=np.array(volume.slice(k)),
        masks=np.array(masks, dtype=bool).reshape(-1, *labels.shape),
        labels=tuple(kept),
        modality=volume.modality,
        body_part=volume.body_part,
    )
    return LabelledSlices((found,) if masks else (), tuple(skipped.values()))


def _boxes(labels: _Labels) -> dict[int, tuple[slice, slice]]:
    """Value -> rows and columns of all its pixels."""
    found = ndimage.find_objects(labels.astype(np.int32))
    return {value: box for value, box in enumerate(found, start=1) if box is not None}


def _refusal(shape: tuple[int, ...], n_values: int) -> str | None:
    """Why nothing of a slice (H, W) can be used; None where something can."""
    if not n_values:
        return NOTHING_HERE
    if 2 * min(shape) < max(shape):
        return TOO_LONG
    return NO_LABEL_MAP if n_values > MAX_VALUES else None


def _targets(
    labels: _Labels, boxes: Mapping[int, tuple[slice, slice]], names: Mapping[int, str]
) -> Iterator[tuple[str, NDArray[np.bool_] | None, str]]:
    """Name and mask (H, W) of every component of a slice; None and the reason where left out."""
    for value, box in boxes.items():
        name = names.get(value) or f"label {value}"
        components, areas = component_areas(labels[box] == value)
        for number, area in enumerate(areas.tolist(), start=1):
            if area < MIN_AREA_SHARE * labels.size:
                yield name, None, TOO_SMALL
            elif area > MAX_AREA_SHARE * labels.size:
                yield name, None, TOO_LARGE
            else:
                mask = np.zeros(labels.shape, bool)
                mask[box] = components == number
                yield name, mask, ""


def _digest(image: LabelledImage) -> str:
    whole = hashlib.sha256(repr((image.name, image.patient, image.labels)).encode())
    for array in (image.image, np.packbits(image.masks)):
        whole.update(repr((array.shape, array.dtype.str)).encode())
        whole.update(np.ascontiguousarray(array).data)
    return whole.hexdigest()

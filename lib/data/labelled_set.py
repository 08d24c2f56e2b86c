"""A data set that fits into memory, as the labelled slices that a served network is trained on.

The other way is `lib.data.streamed`, for data sets of any size. Here images are drawn by patient,
and some patients are held out, so all of them must be at hand.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from lib.data.labelled_slices import TOO_LARGE, TOO_LONG, TOO_SMALL, LabelledSlices, Skipped
from lib.data.pool import MAX_AREA_SHARE, MIN_AREA_SHARE, LabelledImage
from lib.data.shards.stream import Source
from lib.errors import ImageError, Samed2dError

UNREADABLE = "that cannot be read"


def half_the_memory() -> int:
    """Of this machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def read_labelled_set(source: Source, most_bytes: int | None = None) -> LabelledSlices:
    """All images of a data set in the order of their names, by the rules of `LabelledSlices`.

    Args:
        source: shards or a folder.
        most_bytes: of images and masks; None: half the memory of this machine.

    Raises:
        ImageError: more than that, a damaged shard, or not one image that can be used.
        UnavailableError: a place that does not answer.
    """
    room = half_the_memory() if most_bytes is None else most_bytes
    images: list[LabelledImage] = []
    skipped: list[Skipped] = []
    for image in _loaded(source, skipped):
        kept = _usable(image, skipped)
        if kept is None:
            continue
        images.append(kept)
        room -= kept.image.nbytes + kept.masks.nbytes
        if room < 0:
            raise ImageError(
                got=f"a data set of {source.total()} images, which does not fit into memory",
                allowed="half the memory of this machine",
                todo="train on it with scripts/pretrain.py, which reads it as a stream",
            )
    if not images:
        raise ImageError("a data set without an image that can be used", "at least one")
    return LabelledSlices(tuple(sorted(images, key=lambda image: image.name)), tuple(skipped))


def _loaded(source: Source, skipped: list[Skipped]) -> Iterator[LabelledImage]:
    for group in source.groups(np.random.default_rng(0), 0, 1):
        for sample in source.read(group):
            try:
                yield sample.load()
            except Samed2dError as error:
                skipped.append(Skipped(error.got, None, "", UNREADABLE))


def _usable(image: LabelledImage, skipped: list[Skipped]) -> LabelledImage | None:
    """The image with the masks that can be learned from; None where there is none."""
    height, width = image.image.shape[:2]
    if 2 * min(height, width) < max(height, width):
        skipped.append(Skipped(image.name, None, "", TOO_LONG))
        return None
    kept = []
    for number, mask in enumerate(image.masks):
        share = np.count_nonzero(mask) / mask.size
        if MIN_AREA_SHARE <= share <= MAX_AREA_SHARE:
            kept.append(number)
            continue
        reason = TOO_SMALL if share < MIN_AREA_SHARE else TOO_LARGE
        skipped.append(Skipped(image.name, None, image.labels[number], reason))
    if not kept:
        return None
    labels = tuple(image.labels[number] for number in kept)
    return LabelledImage(
        *(image.name, image.patient, image.image, image.masks[kept], labels, image.modality)
    )

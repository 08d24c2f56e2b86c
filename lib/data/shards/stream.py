"""Images with their masks in shuffled order, from shards or from a folder of PNG files.

The order follows from seed and epoch alone. Shards are shuffled, a few are held in memory at a
time, and their samples are shuffled together. So a position (epoch, number of samples taken) is
enough to go on in the middle of an epoch, and shards before it are not read. Nothing is decoded
before it is asked for, and an image once for all its masks.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.data.pool import LabelledImage
from lib.data.sa_med2d import class_of, masks_by_image, name_facts, read_image, read_mask
from lib.data.shards.index import FILE, Index, Shard
from lib.data.shards.places import read_whole
from lib.data.shards.sample import load
from lib.errors import ImageError

TOGETHER = 4
"""Shards that are held in memory, and mixed, at a time."""


@dataclass(frozen=True)
class Position:
    """Where a stream is.

    Attributes:
        epoch: from 0.
        taken: samples of it that were taken.
    """

    epoch: int = 0
    taken: int = 0


class Source(Protocol):
    """Where samples come from; groups of them are shuffled, and the samples within each."""

    def groups(self, rng: np.random.Generator, part: int, parts: int) -> Sequence[Sequence[int]]:
        """The groups of one of several readers, shuffled; each lists numbers of units."""
        ...

    def sizes(self, group: Sequence[int]) -> int:
        """How many samples a group holds."""
        ...

    def read(self, group: Sequence[int]) -> Sequence[Sample]:
        """All of a group, in a fixed order, not yet decoded."""
        ...


class Sample(Protocol):
    """A sample that is not decoded yet."""

    def load(self) -> LabelledImage:
        """Decode it."""
        ...


def stream(
    source: Source, seed: int, start: Position | None = None, part: int = 0, parts: int = 1
) -> Iterator[tuple[LabelledImage, Position]]:
    """Samples for ever, each with the position after it.

    Args:
        source: shards or a folder.
        seed: of the order.
        start: a position that this stream gave before, with the same other arguments.
        part: which of several readers this is, from 0; together they read everything once.
        parts: how many readers.

    Raises:
        ImageError: a damaged shard or sample, or more readers than there is to read.
        UnavailableError: a place that does not answer.
    """
    position = start or Position()
    while True:
        rng = np.random.default_rng((seed, position.epoch))
        groups = source.groups(rng, part, parts)
        if not groups:
            raise ImageError(
                f"{parts} readers of fewer shards", "a shard for each", "read with fewer"
            )
        before = 0
        for group in groups:
            count = source.sizes(group)
            order = rng.permutation(count)
            skip = min(count, max(0, position.taken - before))
            if skip < count:
                samples = source.read(group)
                for number in order[skip:]:
                    position = Position(position.epoch, position.taken + 1)
                    yield samples[number].load(), position
            before += count
        position = Position(position.epoch + 1)


@dataclass(frozen=True)
class _Packed:
    members: dict[str, bytes]

    def load(self) -> LabelledImage:
        return load(self.members)


class Shards:
    """Shards in a folder, or below an http(s) address.

    Args:
        place: of the index.
        together: shards that are mixed.

    Raises:
        ImageError, UnavailableError: no index there, or a damaged one.
    """

    def __init__(self, place: str | Path, together: int = TOGETHER) -> None:
        self._place = str(place)
        self.index = Index.decode(read_whole(self._place, FILE))
        self._together = together

    def groups(self, rng: np.random.Generator, part: int, parts: int) -> list[list[int]]:
        """As in `Source`; units are shards."""
        mine = rng.permutation(len(self.index.shards))[part::parts].tolist()
        return [mine[i : i + self._together] for i in range(0, len(mine), self._together)]

    def sizes(self, group: Sequence[int]) -> int:
        """As in `Source`."""
        return sum(self.index.shards[number].samples for number in group)

    def read(self, group: Sequence[int]) -> list[_Packed]:
        """As in `Source`."""
        return [s for number in group for s in self._read(self.index.shards[number])]

    def _read(self, shard: Shard) -> list[_Packed]:
        data = read_whole(self._place, shard.file)
        if hashlib.sha256(data).hexdigest() != shard.sha256:
            raise ImageError(
                f"{shard.file}, which was changed", "as it was packed", "copy it again"
            )
        found: dict[str, dict[str, bytes]] = {}
        with tarfile.open(fileobj=BytesIO(data)) as tar:
            for entry in tar:
                stem, _, ending = entry.name.partition(".")
                content = tar.extractfile(entry)
                if content is not None:
                    found.setdefault(stem, {})[ending] = content.read()
        return [_Packed(members) for members in found.values()]


@dataclass(frozen=True)
class _Files:
    image: Path
    masks: tuple[Path, ...]

    def load(self) -> LabelledImage:
        pixels = read_image(self.image)
        facts = name_facts(self.image.stem)
        masks = np.stack([read_mask(path, pixels.shape[:2]) for path in self.masks])
        labels = tuple(class_of(path.stem, self.image.stem) for path in self.masks)
        modality = facts.modality or None
        return LabelledImage(self.image.stem, facts.patient, pixels, masks, labels, modality)


class Pictures:
    """A folder in the format of SA-Med2D-20M.

    Args:
        folder: with images/ and masks/.
        images: names of those to read, without ending; None: all.

    Raises:
        ImageError: a list of files that cannot be read, or no image.
    """

    def __init__(self, folder: Path, images: frozenset[str] | None = None) -> None:
        self._files = [
            _Files(image, masks)
            for image, masks in masks_by_image(folder).items()
            if images is None or image.stem in images
        ]
        if not self._files:
            raise ImageError(f"no images in {folder}", "images with masks", "correct the path")

    def groups(self, rng: np.random.Generator, part: int, parts: int) -> list[list[int]]:
        """As in `Source`; units are images, and one group holds them all."""
        mine = rng.permutation(len(self._files))[part::parts].tolist()
        return [mine] if mine else []

    def sizes(self, group: Sequence[int]) -> int:
        """As in `Source`."""
        return len(group)

    def read(self, group: Sequence[int]) -> list[_Files]:
        """As in `Source`."""
        return [self._files[number] for number in group]

"""Images with their masks in shuffled order, from shards or from a folder of PNG files.

The order follows from seed and epoch alone. Shards are shuffled, a few are held in memory at a
time, and their samples are shuffled together. So a position (epoch, number of samples taken) is
enough to go on in the middle of an epoch, and shards before it are not read. Nothing is decoded
before it is asked for, and an image once for all its masks.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.data.builder.outputs import PATIENTS
from lib.data.pool import LabelledImage
from lib.data.sa_med2d import class_of, masks_by_image, name_facts, read_image, read_mask
from lib.data.shards.index import FILE, Index, Shard
from lib.data.shards.places import read_whole
from lib.data.shards.sample import load
from lib.data.shards.sides import read_object
from lib.errors import ImageError, Samed2dError

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

    def total(self) -> int:
        """How many samples there are."""
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
    source: Source,
    seed: int,
    start: Position | None = None,
    part: int = 0,
    parts: int = 1,
    passed_over: Callable[[Samed2dError], None] | None = None,
) -> Iterator[tuple[LabelledImage, Position]]:
    """Samples for ever, each with the position after it.

    Args:
        source: shards or a folder.
        seed: of the order.
        start: a position that this stream gave before, with the same other arguments.
        part: which of several readers this is, from 0; together they read everything once.
        parts: how many readers.
        passed_over: told what is wrong with a sample that cannot be used; None: that is an error.

    Raises:
        ImageError: a damaged shard or sample, more readers than there is to read, or an epoch
            without a sample that can be used.
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
        before = usable = 0
        whole = position.taken == 0
        for group in groups:
            count = source.sizes(group)
            order = rng.permutation(count)
            skip = min(count, max(0, position.taken - before))
            if skip < count:
                samples = source.read(group)
                for number in order[skip:]:
                    position = Position(position.epoch, position.taken + 1)
                    loaded = _load(samples[number], passed_over)
                    if loaded is not None:
                        usable += 1
                        yield loaded, position
            before += count
        if whole and not usable:
            raise ImageError("a data set without an image that can be used", "at least one")
        position = Position(position.epoch + 1)


def _load(
    sample: Sample, passed_over: Callable[[Samed2dError], None] | None
) -> LabelledImage | None:
    """Decode a sample; None where it cannot be used and that is told."""
    try:
        return sample.load()
    except Samed2dError as error:
        if passed_over is None:
            raise
        passed_over(error)
        return None


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

    def total(self) -> int:
        """As in `Source`."""
        return self.index.samples

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
    patients: Mapping[str, str]

    def load(self) -> LabelledImage:
        pixels = read_image(self.image)
        facts = name_facts(self.image.stem)
        masks, labels = [], []
        for path in self.masks:
            # Masks that cannot be used are left out, as from shards: SA-Med2D-20M has some.
            try:
                masks.append(read_mask(path, pixels.shape[:2]))
            except Samed2dError:
                continue
            labels.append(class_of(path.stem, self.image.stem))
        if not masks:
            raise ImageError(f"{self.image.name} without a usable mask", "at least one")
        patient = self.patients.get(facts.patient, facts.patient)
        return LabelledImage(
            *(self.image.stem, patient, pixels, np.stack(masks), tuple(labels)),
            facts.modality or None,
        )


class Pictures:
    """A folder in the format of SA-Med2D-20M.

    Args:
        folder: with images/ and masks/.
        images: file names of those to read; None: all.

    Raises:
        ImageError: a list of files that cannot be read, or no image.
    """

    def __init__(self, folder: Path, images: frozenset[str] | None = None) -> None:
        patients = read_object(folder / PATIENTS)
        self._files = [
            _Files(image, masks, patients)
            for image, masks in masks_by_image(folder).items()
            if images is None or image.name in images
        ]
        if not self._files:
            raise ImageError(f"no images in {folder}", "images with masks", "correct the path")

    def groups(self, rng: np.random.Generator, part: int, parts: int) -> list[list[int]]:
        """As in `Source`; units are images, and one group holds them all."""
        mine = rng.permutation(len(self._files))[part::parts].tolist()
        return [mine] if mine else []

    def total(self) -> int:
        """As in `Source`."""
        return len(self._files)

    def sizes(self, group: Sequence[int]) -> int:
        """As in `Source`."""
        return len(group)

    def read(self, group: Sequence[int]) -> list[_Files]:
        """As in `Source`."""
        return [self._files[number] for number in group]

"""Walks: from a prompted slice in one direction, each slice prompted by the one before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from lib.inference.confidence import Histogram, overlap
from lib.inference.decoder import LowRes
from lib.inference.neighbour import has_object
from lib.inference.volume_network import Step, VolumeNetwork


class Reason(StrEnum):
    """Why a walk went no further."""

    ENDED = "object ended"
    """The mask is empty."""
    UNSURE = "confidence"
    """The answer is hardly the same object; most walks end so, behind the end of the object."""
    REFUSED = "refused"
    """The answer is rather what the user refused on a slice further on."""
    EDGE = "end of volume"
    LIMIT = "limit"
    """Of the slices that were asked for."""
    SEED = "prompted slice"
    TIME = "time budget"


class Cancelled(Exception):  # noqa: N818 - nothing went wrong
    """Nobody waits for the result any more."""


@dataclass(frozen=True)
class Seed:
    """A slice that the user prompted.

    Attributes:
        k: the slice.
        answer: of the network to the prompt; may be empty.
        reference: grey values of the object, on this slice or on the one where it was found first.
        refused: where the user said that the object is not on this slice, the answer that was
            there before.
    """

    k: int
    answer: LowRes
    reference: Histogram
    refused: LowRes | None = None


@dataclass(frozen=True)
class Path:
    """Where a walk leads.

    Attributes:
        seed: where it starts.
        slices: to be visited in this order, the seed not among them.
        at_end: why it ends after the last of them.
        goal: the seed at its end, or None. If that one holds the object too, then so do all
            slices between them, and no doubt ends the walk.
    """

    seed: Seed
    slices: Sequence[int]
    at_end: Reason
    goal: Seed | None = None


@dataclass
class Walk:
    """A path and how far it was followed; ``reason`` is None while it goes on."""

    path: Path
    steps: dict[int, Step] = field(default_factory=dict)
    reason: Reason | None = None

    @property
    def last(self) -> int:
        """The slice it came to; the seed's where it did not leave it."""
        return next(reversed(self.steps), self.path.seed.k)


@dataclass(frozen=True)
class Brake:
    """What may end all walks at any slice.

    Attributes:
        deadline: on the clock of `time.monotonic`.
        cancelled: asked before every slice.
    """

    deadline: float
    cancelled: Callable[[], bool]

    def check(self) -> Reason | None:
        """Why nothing more is to be done, or None.

        Raises:
            Cancelled: somebody said so.
        """
        if self.cancelled():
            raise Cancelled
        return Reason.TIME if time.monotonic() >= self.deadline else None


def follow(
    network: VolumeNetwork,
    paths: Iterable[Path],
    threshold: float,
    brake: Brake,
    progress: Callable[[int], None] = lambda k: None,
) -> list[Walk]:
    """Follow all paths, one slice of each in turn: nearest to the seeds first.

    Args:
        network: looking at the volume.
        paths: to follow.
        threshold: a walk ends below this confidence, see `lib.inference.confidence`.
        brake: may end all of them.
        progress: called with each slice that was answered.

    Raises:
        Cancelled: see `Brake`.
    """
    walks = [Walk(path) for path in paths]
    going = [(walk, _steps(network, walk.path, threshold)) for walk in walks]
    while going:
        for walk, steps in going:
            walk.reason = brake.check()
            if walk.reason is None:
                try:
                    step = next(steps)
                    walk.steps[step.k] = step
                    progress(step.k)
                except StopIteration as end:
                    walk.reason = end.value
        going = [(walk, steps) for walk, steps in going if walk.reason is None]
    return walks


def _steps(network: VolumeNetwork, path: Path, threshold: float) -> Generator[Step, None, Reason]:
    """The steps of one walk; returns why there are no more."""
    neighbour = path.seed.answer
    if not has_object(neighbour):
        return Reason.ENDED
    for k in path.slices:
        step = network.step(k, neighbour, path.seed.reference)
        end = _end(step, path, threshold)
        if end is not None:
            return end
        yield step
        neighbour = step.answer
    return path.at_end


def _end(step: Step, path: Path, threshold: float) -> Reason | None:
    """Why a walk does not even take this step, or None."""
    if not has_object(step.answer):
        return Reason.ENDED
    if path.goal is not None and has_object(path.goal.answer):
        return None
    if step.judgement.confidence < threshold:
        return Reason.UNSURE
    refused = None if path.goal is None else path.goal.refused
    # On the way to it the mask turned into the refused one: where it is more like that one than
    # like the seed's, the object has ended.
    if refused is not None and overlap(step.answer, refused) > overlap(
        step.answer, path.seed.answer
    ):
        return Reason.REFUSED
    return None

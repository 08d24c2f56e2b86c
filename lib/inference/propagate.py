"""From prompts on one or a few slices to a mask of the whole volume.

Every slice with a prompt is a seed (`lib.inference.seeds`). Its mask is the network's answer to
that prompt and is never touched again. From each seed two walks start, down and up, in which each
slice is prompted by the answer on the one before it (`lib.inference.neighbour`). Outside of the
seeds a walk goes on until the object has ended (`lib.inference.confidence`); between two seeds the
walks of both are blended (`lib.inference.blend`). So a prompt on one more slice changes the slices
up to the next seeds on either side and no others.

The result is a function of volume, network, prompts and settings. Where the time runs out it holds
what was done until then, beginning beside the seeds.

Memory: one low-resolution answer (16 KB) for each slice of each walk, and the bits of each mask.
There is never an array of floats of the whole volume.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lib.inference.blend import blend
from lib.inference.confidence import Judgement, trust
from lib.inference.seeds import Sower, steps_towards
from lib.inference.volume_mask import PackedMask
from lib.inference.volume_network import Spent, Step, VolumeNetwork
from lib.inference.walk import Brake, Path, Reason, Seed, Walk, follow
from lib.prompts.prompt import Prompt


@dataclass(frozen=True)
class PropagateSettings:
    """How far to go.

    Attributes:
        threshold: 0..1; a walk ends at a slice whose confidence is below it.
        seconds: for everything; walks end when they are used up.
        max_slices: most slices of a walk outside of the seeds, None for no limit.
        first: no slice below this one and the seeds is visited, None for all.
        last: no slice above this one and the seeds is visited, None for all.
    """

    threshold: float = 0.2
    seconds: float = 30.0
    max_slices: int | None = None
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Stop:
    """A walk from slice ``seed`` that came to slice ``last``, and why it went no further."""

    seed: int
    last: int
    reason: Reason


@dataclass(frozen=True)
class VolumeResult:
    """The object in the volume.

    Attributes:
        masks: slice -> mask, of the slices that hold the object, in ascending order.
        confidence: slice -> 0..1 of the same slices; of a seed it is the predicted IoU.
        seeds: the slices that were prompted, in ascending order.
        stops: one for each walk, from the lowest seed to the highest, down before up.
        iou: the network's estimate of its IoU on the seeds, their mean.
        spent: what it took.
    """

    masks: Mapping[int, PackedMask]
    confidence: Mapping[int, float]
    seeds: tuple[int, ...]
    stops: tuple[Stop, ...]
    iou: float
    spent: Spent


def propagate(
    network: VolumeNetwork,
    prompts: Mapping[int, Prompt],
    settings: PropagateSettings | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda k: None,
) -> VolumeResult:
    """Segment one object in a volume.

    Args:
        network: looking at the volume.
        prompts: slice -> prompt in pixels of that slice, in the order in which they were given.
        settings: how far to go.
        cancelled: asked before every slice.
        progress: called with every slice that was answered; with those between two seeds twice.

    Raises:
        PromptError: no prompt says where the object is, or one lies beyond the volume.
        ImageError: a slice that is no image.
        Cancelled: ``cancelled`` said so.
    """
    settings = settings or PropagateSettings()
    brake = Brake(time.monotonic() + settings.seconds, cancelled)
    seeds = Sower(network, settings.threshold, brake).seeds(prompts)
    paths = list(_paths(list(seeds.values()), network.slices.count, settings))
    walks = follow(network, paths, settings.threshold, brake, progress)
    return _result(network, seeds, walks, brake)


def _paths(seeds: list[Seed], count: int, settings: PropagateSettings) -> Iterator[Path]:
    """Up and down between neighbouring seeds, down from the first, up from the last."""
    low = 0 if settings.first is None else settings.first
    high = count - 1 if settings.last is None else settings.last
    yield _outwards(seeds[0], min(low, seeds[0].k), low == 0, settings.max_slices)
    for below, above in pairwise(seeds):
        yield Path(below, steps_towards(below.k, above.k)[:-1], Reason.SEED, above)
        yield Path(above, steps_towards(above.k, below.k)[:-1], Reason.SEED, below)
    at_edge = high == count - 1
    yield _outwards(seeds[-1], max(high, seeds[-1].k), at_edge, settings.max_slices)


def _outwards(seed: Seed, end: int, at_edge: bool, limit: int | None) -> Path:
    slices = steps_towards(seed.k, end)
    if limit is not None and len(slices) > limit:
        return Path(seed, slices[:limit], Reason.LIMIT)
    return Path(seed, slices, Reason.EDGE if at_edge else Reason.LIMIT)


def _result(
    network: VolumeNetwork, seeds: Mapping[int, Seed], walks: list[Walk], brake: Brake
) -> VolumeResult:
    """Bring the steps of all walks together and to the size of the slices."""
    steps = {**_blended(walks), **{k: _own_step(seed) for k, seed in seeds.items()}}
    masks = {}
    for k in sorted(steps):
        brake.check()
        mask = PackedMask.pack(network.mask(k, steps[k].answer))
        if not mask.is_empty:
            masks[k] = mask
    return VolumeResult(
        masks=masks,
        confidence={k: steps[k].judgement.confidence for k in masks},
        seeds=tuple(seeds),
        stops=tuple(Stop(w.path.seed.k, w.last, w.reason or Reason.TIME) for w in walks),
        iou=float(np.mean([trust(seed.answer) for seed in seeds.values()])),
        spent=network.spent,
    )


def _blended(walks: list[Walk]) -> dict[int, Step]:
    """Slice -> step: of the one walk that was there, or of the two between neighbouring seeds."""
    first, *inner, last = walks
    steps = {**first.steps, **last.steps}
    for up, down in zip(inner[::2], inner[1::2], strict=True):
        for k in {**up.steps, **down.steps}:
            step = blend(up.steps.get(k), down.steps.get(k), up.path.seed.k, down.path.seed.k)
            if step is not None:
                steps[k] = step
    return steps


def _own_step(seed: Seed) -> Step:
    return Step(seed.k, seed.answer, Judgement(trust(seed.answer)))

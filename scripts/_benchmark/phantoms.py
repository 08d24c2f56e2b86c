"""``benchmark.py phantoms``: how many synthetic images of each kind one core draws in a second.

Processor time is measured, not time on the wall, and every image is drawn in several rounds of
which the fastest counts: other work on the machine, which shares caches and cores, changes little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lib.data.phantoms import PHANTOM_KINDS, PHANTOM_SHARES, make_phantom
from lib.data.stream import PHANTOM_OBJECTS

Say = Callable[[str], None]


@dataclass(frozen=True)
class PhantomPlan:
    """What is to be measured.

    Attributes:
        images: of each kind.
        rounds: times that each image is drawn.
        size: their side in pixels.
        seed: of all of them.
    """

    images: int
    rounds: int = 3
    size: int = 256
    seed: int = 0


@dataclass(frozen=True)
class PhantomReport:
    """Everything that was found.

    Attributes:
        images: of each kind.
        rounds: times that each was drawn; the fastest counts.
        size: their side in pixels.
        rates: images a second of processor time, by kind.
        shares: of each kind in the usual mixture, by kind.
        mixture: images a second of processor time in the usual mixture.
    """

    images: int
    rounds: int
    size: int
    rates: dict[str, float]
    shares: dict[str, float]
    mixture: float


def run(plan: PhantomPlan, say: Say) -> PhantomReport:
    """Draw the images as the training stream does, all kinds in turn."""
    for kind in PHANTOM_KINDS:
        _seconds(plan, kind, 0)  # fills the tables of this size
    fastest = np.full((len(PHANTOM_KINDS), plan.images), np.inf)
    for turn in range(plan.rounds):
        say(f"round {turn + 1} of {plan.rounds}: {plan.images} images of each kind")
        for image in range(plan.images):
            for number, kind in enumerate(PHANTOM_KINDS):
                seconds = _seconds(plan, kind, image)
                fastest[number, image] = min(fastest[number, image], seconds)
    each = fastest.mean(axis=1)
    return PhantomReport(
        images=plan.images,
        rounds=plan.rounds,
        size=plan.size,
        rates={kind: 1 / float(s) for kind, s in zip(PHANTOM_KINDS, each, strict=True)},
        shares=dict(zip(PHANTOM_KINDS, PHANTOM_SHARES, strict=True)),
        mixture=1 / float(each @ np.asarray(PHANTOM_SHARES)),
    )


def _seconds(plan: PhantomPlan, kind: str, image: int) -> float:
    """Processor time of one image."""
    rng = np.random.default_rng([plan.seed, image])
    started = time.process_time()
    make_phantom(rng, plan.size, kind, PHANTOM_OBJECTS)
    return time.process_time() - started

"""Phantoms that every training is judged on besides the user's labels: their truth is exact.

A network that gets much worse at following clicks on plain objects has forgotten too much, however
good it has become at what it was trained on. The anchors look like CT, MR, ultrasound, X-ray,
microscopy and others. They do not tell right labels from wrong ones: trained on either, the network
loses about the same on them (see `lib.training.foreign` for that).
"""

from __future__ import annotations

import numpy as np

from lib.data.phantoms import PHANTOM_KINDS, make_phantom
from lib.data.pool import MAX_AREA_SHARE, MIN_AREA_SHARE, LabelledImage

COUNT = 24
SEED = 20230816
"""Any number will do; changing it makes old and new verdicts incomparable."""
OBJECTS = 3
"""Of one phantom, at most: more of them tell little more and take as long."""


def anchor_images(
    count: int = COUNT, seed: int = SEED, size: int = 256
) -> tuple[LabelledImage, ...]:
    """The anchors, the same at each call, of all kinds in turn.

    Args:
        count: of images.
        seed: of all of them.
        size: edge length in pixels.

    Returns:
        Images with one to `OBJECTS` objects of 0.2 to 70 % of the image; each is a patient of its
        own.
    """
    rng = np.random.default_rng(seed)
    return tuple(
        _anchor(rng, PHANTOM_KINDS[number % len(PHANTOM_KINDS)], number, size)
        for number in range(count)
    )


def _anchor(rng: np.random.Generator, kind: str, number: int, size: int) -> LabelledImage:
    while True:
        phantom = make_phantom(rng, size, kind)
        share = phantom.masks.mean(axis=(1, 2))
        usable = np.flatnonzero((share >= MIN_AREA_SHARE) & (share <= MAX_AREA_SHARE))
        chosen = rng.permutation(usable)[:OBJECTS]
        if len(chosen):
            name = f"phantom {number:02d} {kind}"
            labels = tuple(phantom.names[index] for index in chosen)
            return LabelledImage(name, name, phantom.image, phantom.masks[chosen], labels)

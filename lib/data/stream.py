"""An endless, seeded stream of training images: phantoms and augmented real images, mixed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lib.data.augment import Augmentation, augment
from lib.data.phantoms import make_phantom
from lib.data.pool import LabelledImage, usable_masks


@dataclass(frozen=True)
class Sample:
    """One training image: (S, S, 3) uint8 and its objects (N, S, S) bool, N >= 1."""

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]


@dataclass(frozen=True)
class Mixture:
    """What the stream is made of.

    Attributes:
        size: edge length of the images.
        real_share: how often a real image is drawn (0 where there are none).
        objects: at most so many objects of one image are kept.
        kinds: of phantoms to draw from, alike; a name given twice weighs twice. Empty: the usual
            mixture of `make_phantom`.
        augmentation: of real images.
    """

    size: int = 256
    real_share: float = 0.4
    objects: int = 4
    kinds: tuple[str, ...] = ()
    augmentation: Augmentation = field(default_factory=Augmentation)


def sample_stream(
    images: Sequence[LabelledImage], mixture: Mixture, rng: np.random.Generator
) -> Iterator[Sample]:
    """Yield samples for ever; real images patient first, so that long series do not rule."""
    patients = sorted({image.patient for image in images})
    by_patient = {p: [image for image in images if image.patient == p] for p in patients}
    while True:
        if patients and rng.random() < mixture.real_share:
            choices = by_patient[patients[rng.integers(len(patients))]]
            real = choices[rng.integers(len(choices))]
            image, masks = augment(real.image, real.masks, mixture.size, rng, mixture.augmentation)
        else:
            kind = mixture.kinds[rng.integers(len(mixture.kinds))] if mixture.kinds else None
            phantom = make_phantom(rng, mixture.size, kind)
            image, masks = phantom.image, phantom.masks
        masks = usable_masks(masks)
        if len(masks):
            keep = rng.permutation(len(masks))[: mixture.objects]
            yield Sample(_three_channels(image), masks[keep])


def _three_channels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)

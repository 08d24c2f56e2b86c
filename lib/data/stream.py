"""An endless, seeded stream of training images: phantoms and varied real images, mixed.

Every image is seen anew: another view of it (`lib.data.viewpoint`) in other tones
(`lib.data.tone`). Of a real image sometimes not the labelled objects are shown but segments that
a watershed finds in it (`lib.data.regions`). Objects are chosen so that small and large ones come
alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lib.data.phantoms import make_phantom
from lib.data.pool import MAX_AREA_SHARE, MIN_AREA_SHARE, LabelledImage
from lib.data.real_images import RealImages
from lib.data.scene import components
from lib.data.streamed import StreamedImages
from lib.data.tone import Toning, retone
from lib.data.viewpoint import Viewing, random_viewpoint, show

LARGEST = 0.6
"""Objects up to this share of the image are asked for."""

PHANTOM_OBJECTS = 8
"""Objects of a phantom that are looked for, from which `Mixture.objects` are chosen."""


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
        region_share: how often of a drawn real image segments are shown instead of its objects.
        objects: at most so many objects of one image are kept.
        kinds: of phantoms to draw from, alike; a name given twice weighs twice. Empty: the usual
            mixture of `make_phantom`.
        phantom_views: how often a phantom is seen from another viewpoint than it was drawn from.
        phantom_tones: how often a phantom's tones are changed after it was drawn.
        viewing: views of real images, and of those phantoms.
        toning: tones of real images, and of those phantoms.
    """

    size: int = 256
    real_share: float = 0.4
    region_share: float = 0.3
    objects: int = 4
    kinds: tuple[str, ...] = ()
    phantom_views: float = 0.3
    phantom_tones: float = 0.3
    viewing: Viewing = field(default_factory=Viewing)
    toning: Toning = field(default_factory=Toning)


def sample_stream(
    images: Sequence[LabelledImage],
    mixture: Mixture,
    rng: np.random.Generator,
    streamed: StreamedImages | None = None,
) -> Iterator[Sample]:
    """Yield samples for ever; real images by source, then patient, so that no series rules.

    Args:
        images: real ones in memory.
        mixture: what is drawn how often.
        rng: source of all random choices, but not of the order of a data set.
        streamed: real images of a data set; where there are others too, both are drawn alike often.
    """
    drawers = [RealImages(images)] if images else []
    real: list[RealImages | StreamedImages] = [*drawers, *([streamed] if streamed else [])]
    while True:
        if real and rng.random() < mixture.real_share:
            chosen = real[rng.integers(2)] if len(real) > 1 else real[0]
            image, masks = chosen.draw(rng, mixture.region_share)
            sample = _seen(image, masks, mixture, rng, 1.0, 1.0)
        else:
            kind = mixture.kinds[rng.integers(len(mixture.kinds))] if mixture.kinds else None
            phantom = make_phantom(rng, mixture.size, kind, PHANTOM_OBJECTS)
            sample = _seen(
                phantom.image,
                phantom.masks,
                mixture,
                rng,
                mixture.phantom_views,
                mixture.phantom_tones,
            )
        if sample is not None:
            yield sample


def _seen(
    image: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    mixture: Mixture,
    rng: np.random.Generator,
    views: float,
    tones: float,
) -> Sample | None:
    """A view of the image with some of its objects; None where none is left to be seen."""
    if not len(masks):
        return None
    if rng.random() < views:
        first = _spread_sizes(masks, len(masks), rng)
        view, chosen = random_viewpoint(masks[first], mixture.size, rng, mixture.viewing)
        image, masks = show(image, masks[first][chosen], view, mixture.size, rng, mixture.viewing)
        masks = _usable(masks)
        if not len(masks):
            return None
        masks = _largest_parts(masks[_spread_sizes(masks, mixture.objects, rng)])
    masks = _usable(masks)
    if not len(masks):
        return None
    masks = masks[_spread_sizes(masks, mixture.objects, rng)]
    if rng.random() < tones:
        image = retone(image, rng, mixture.toning)
    return Sample(_three_channels(image), masks)


def _shares(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of the image that each mask covers; several times as fast as the mean over two axes."""
    return np.array([np.count_nonzero(mask) / mask.size for mask in masks], np.float64)


def _usable(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """As `lib.data.pool.usable_masks`, faster."""
    if not len(masks):
        return masks
    shares = _shares(masks)
    return masks[(shares >= MIN_AREA_SHARE) & (shares <= MAX_AREA_SHARE)]


def _spread_sizes(
    masks: NDArray[np.bool_], count: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Up to ``count`` of the masks (N, H, W), each the nearest to a random size not yet taken."""
    sizes = np.log(np.maximum(_shares(masks), 1e-6)) + rng.normal(0, 0.05, len(masks))
    taken: list[int] = []
    for wanted in rng.uniform(np.log(MIN_AREA_SHARE), np.log(LARGEST), min(count, len(masks))):
        distance = np.abs(sizes - wanted)
        distance[taken] = np.inf
        taken.append(int(distance.argmin()))
    return np.asarray(taken, np.intp)


def _largest_parts(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Each mask's largest connected part: the edge of a view may cut an object in two."""
    parts = [max(components(mask, 1), key=np.count_nonzero) for mask in masks if mask.any()]
    return np.array(parts, dtype=np.bool_).reshape(-1, *masks.shape[1:])


def _three_channels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)

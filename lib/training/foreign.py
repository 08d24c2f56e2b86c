"""Whether labels belong to their images: a network must do better with an object's own image.

Labels that were saved for another image, or shifted, can still be "learned": the network turns to
drawing the usual shape around each click, and other wrong labels praise it for that. But then it
makes no difference which image it looks at. So the objects are segmented once more on images that
they do not belong to, by the same simulated user. Measured with the compact network: right labels
of four kinds of images made the own image worth 0.04 to 0.25 of Dice, before training and after it;
labels of other images -0.03 to 0.02, also where training on them had "gained" 0.09.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.data.pool import LabelledImage
from lib.networks.sam import AdapterSam
from lib.training.bootstrap import Interval, mean_intervals
from lib.training.validation import TargetScore, ValidationSet

OBJECTS = 30
"""That are compared, at most: each is segmented on three images."""


@dataclass(frozen=True)
class LabelFit:
    """How well labels fit their images.

    Attributes:
        gain: what the own image is worth in mean Dice, against foreign ones.
        n_targets: objects.
    """

    gain: Interval
    n_targets: int


def label_fit(
    model: AdapterSam, images: Sequence[LabelledImage], limit: int = OBJECTS
) -> LabelFit | None:
    """What the own image is worth to a network; None where there is no object.

    Args:
        model: on its device; may be in training, and stays in the mode it is in.
        images: labelled slices.
        limit: at most so many objects.
    """
    own, *foreign = (
        ValidationSet(model, shown, limit=limit).scores()
        for shown in (images, turned(images), exchanged(images, images))
    )
    return own_image_gain(own, foreign)


def turned(images: Sequence[LabelledImage]) -> tuple[LabelledImage, ...]:
    """The same objects on their own images turned by 180 degrees."""
    return tuple(
        replace(image, image=np.ascontiguousarray(image.image[::-1, ::-1])) for image in images
    )


def exchanged(
    images: Sequence[LabelledImage], pool: Sequence[LabelledImage]
) -> tuple[LabelledImage, ...]:
    """The same objects on images of other patients, stretched to the size of their own.

    Args:
        images: with the objects.
        pool: to take images from.

    Returns:
        One image for each; none at all where some patient has no other.
    """
    found = []
    for image in images:
        others = [other for other in pool if other.patient != image.patient]
        if not others:
            return ()
        found.append(_with_pixels(image, min(others, key=lambda other: _rank(image, other))))
    return tuple(found)


def own_image_gain(
    own: Sequence[TargetScore], foreign: Sequence[Sequence[TargetScore]]
) -> LabelFit | None:
    """What the own image is worth in mean Dice; None where there is nothing to compare.

    Args:
        own: scores on the objects' own images.
        foreign: scores of the same objects, in the same order, on one or more foreign ones.

    Raises:
        ValueError: scores of different objects.
    """
    filled = [scores for scores in foreign if scores]
    if any([s.key for s in scores] != [s.key for s in own] for scores in filled):
        raise ValueError("scores of different objects cannot be compared")
    if not own or not filled:
        return None
    elsewhere = np.mean([[score.mean for score in scores] for scores in filled], axis=0)
    gains = np.array([score.mean for score in own]) - elsewhere
    (gain,) = mean_intervals(gains[:, None], [score.patient for score in own])
    return LabelFit(gain, len(own))


def _with_pixels(image: LabelledImage, other: LabelledImage) -> LabelledImage:
    rows, columns = (
        np.arange(n) * there // n
        for n, there in zip(image.image.shape[:2], other.image.shape[:2], strict=True)
    )
    pixels = np.ascontiguousarray(other.image[rows][:, columns])
    return replace(image, image=pixels, modality=other.modality, body_part=other.body_part)


def _rank(image: LabelledImage, other: LabelledImage) -> bytes:
    return hashlib.sha256(f"{image.name}:{other.name}".encode()).digest()

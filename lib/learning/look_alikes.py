"""Which of the objects that a network finds look like objects that people have labelled.

The network that answers clicks knows no names. But its encoder describes every place of an image,
and objects of one kind are described alike; so the mean description inside of an object, compared
with those of labelled objects, tells what it may be. The same idea segments from one example
without training in PerSAM (Zhang et al. 2023, arXiv:2305.03048, section 3.1). No network is asked
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]

NEAREST = 3
"""An object is as similar to a label as to its nearest labelled objects on average, so many."""
SIZE_FACTOR = 2.0
"""An object may be so many times smaller or larger than all labelled ones."""


@dataclass(frozen=True, eq=False)
class LabelledObject:
    """One object that somebody labelled.

    Attributes:
        label: its name.
        features: (C,), see `object_features`.
        area: share of the image, 0..1.
        image: where it is; those of one image tell how many there may be.
    """

    label: str
    features: Features
    area: float
    image: str


@dataclass(frozen=True)
class Likeness:
    """What an object may be: the label, and the similarity -1..1 to objects that have it."""

    label: str
    similarity: float


def object_features(embedding: NDArray[np.float32], mask: NDArray[np.bool_]) -> Features:
    """What makes an object differ from its image, (C,) of length 1; zeros where nothing does.

    Args:
        embedding: (1, C, h, w) of the image.
        mask: (n, n), not empty, n a multiple of h and w, over the same frame.
    """
    _, channels, rows, columns = embedding.shape
    parts = mask.reshape(rows, mask.shape[0] // rows, columns, mask.shape[1] // columns)
    weights = parts.mean(axis=(1, 3)).reshape(-1)
    places = np.nan_to_num(embedding[0].reshape(channels, -1).astype(np.float64))
    features = places @ (weights / max(weights.sum(), 1e-12)) - places.mean(axis=1)
    return np.asarray(features / max(float(np.linalg.norm(features)), 1e-12), dtype=np.float32)


class LookAlikes:
    """Labelled objects that others are compared with.

    Args:
        objects: of one encoder.
    """

    def __init__(self, objects: Sequence[LabelledObject]) -> None:
        self._by_label: dict[str, list[LabelledObject]] = {}
        for found in objects:
            self._by_label.setdefault(found.label, []).append(found)

    @property
    def labels(self) -> tuple[str, ...]:
        """All names, in the order of their first objects."""
        return tuple(self._by_label)

    def most(self, label: str) -> int:
        """So many objects of a label were on one image at most."""
        images = [found.image for found in self._by_label[label]]
        return max(images.count(image) for image in set(images))

    def likeness(self, features: Features, area: float) -> Likeness | None:
        """What an object may be; None where every label's objects have another size.

        Args:
            features: (C,) of `object_features`.
            area: share of the image, 0..1.
        """
        found = [
            Likeness(label, _similarity(features, objects))
            for label, objects in self._by_label.items()
            if _fits(area, objects)
        ]
        return max(found, key=lambda likeness: likeness.similarity, default=None)


def _similarity(features: Features, objects: Sequence[LabelledObject]) -> float:
    cosines = np.sort([float(features @ found.features) for found in objects])
    return float(cosines[-NEAREST:].mean())


def _fits(area: float, objects: Sequence[LabelledObject]) -> bool:
    areas = [found.area for found in objects]
    return min(areas) / SIZE_FACTOR <= area <= max(areas) * SIZE_FACTOR

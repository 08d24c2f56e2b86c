"""Which of the objects that a network finds look like objects that people have labelled.

The network that answers clicks knows no names. But its encoder describes every place of an image,
and objects of one kind are described alike; so the mean description inside of an object, compared
with those of labelled objects, tells what it may be. The same idea segments from one example
without training in PerSAM (Zhang et al. 2023, arXiv:2305.03048, section 3.1). Images of one kind
are taken alike, so size and place count as well. No network is asked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]

NEAREST = 3
"""An object is as similar to a label as to its nearest labelled objects on average, so many."""
REACH = 0.1
"""Share of the image's side: an object so far from all places of a label is 1/e as likely."""
MOST_PLACES = 12
"""So many places are looked at where objects of a label have been."""


@dataclass(frozen=True, eq=False)
class LabelledObject:
    """One object that somebody labelled.

    Attributes:
        label: its name.
        features: (C,), see `object_features`.
        area: share of the image, 0..1.
        centre: (x, y) of its centre of mass as shares of the image's sides, 0..1.
        image: where it is; those of one image tell how many there may be.
    """

    label: str
    features: Features
    area: float
    centre: tuple[float, float]
    image: str


@dataclass(frozen=True)
class Likeness:
    """What an object may be.

    Attributes:
        label: its name.
        value: 0..1, similarity to objects that have it, less by another size or place.
    """

    label: str
    value: float


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

    def places(self) -> tuple[tuple[float, float], ...]:
        """Where labelled objects have been, (x, y) as shares; `MOST_PLACES` of each label."""
        found: list[tuple[float, float]] = []
        for objects in self._by_label.values():
            numbers = np.unique(np.linspace(0, len(objects) - 1, MOST_PLACES).round().astype(int))
            found += [objects[n].centre for n in numbers]
        return tuple(found)

    def likeness(
        self, features: Features, area: float, centre: tuple[float, float]
    ) -> Likeness | None:
        """What an object may be; None where nothing is known.

        Args:
            features: (C,) of `object_features`.
            area: share of the image, 0..1.
            centre: (x, y) as shares of the image's sides.
        """
        found = [
            Likeness(label, _value(features, area, centre, objects))
            for label, objects in self._by_label.items()
        ]
        return max(found, key=lambda likeness: likeness.value, default=None)


def centre_of(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Centre of mass (x, y) of a mask (H, W), not empty, as shares of its sides."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    return float((columns.mean() + 0.5) / width), float((rows.mean() + 0.5) / height)


def _value(
    features: Features,
    area: float,
    centre: tuple[float, float],
    objects: Sequence[LabelledObject],
) -> float:
    cosines = np.sort([float(features @ found.features) for found in objects])
    similarity = max(0.0, float(cosines[-NEAREST:].mean()))
    distance = min(float(np.hypot(*np.subtract(centre, found.centre))) for found in objects)
    # 1 for the same size, 1/2 for twice or half of it.
    size = max(min(area, found.area) / max(area, found.area, 1e-12) for found in objects)
    return similarity * float(np.exp(-((distance / REACH) ** 2))) * size

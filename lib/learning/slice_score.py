"""What is known of one slice before anybody has labelled it, and of many of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SliceScore:
    """One slice as a network sees it.

    Attributes:
        image: id in the datastore.
        k: slice.
        uncertainty: 0..1 of what the network finds on it; NaN for a slice that is labelled, of
            which nobody asks.
        features: (C,) float32 of length 1, see `pooled`.
        model_version: network whose uncertainty it is.
        encoder_version: encoder whose features they are; only those of one encoder are compared.
        labelled: the slice was chosen because somebody labelled it.
    """

    image: str
    k: int
    uncertainty: float
    features: Features
    model_version: str
    encoder_version: str
    labelled: bool = False


def pooled(embedding: NDArray[np.float32]) -> Features:
    """An embedding (1, C, h, w) as one vector (C,) of length 1: the mean over its places."""
    mean = np.nan_to_num(embedding[0].mean(axis=(1, 2), dtype=np.float64))
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Many slices, as arrays; never changes.

    Attributes:
        rows: one for each slice, those of an image together.
    """

    rows: tuple[SliceScore, ...] = ()

    def __len__(self) -> int:
        """Number of slices."""
        return len(self.rows)

    @cached_property
    def images(self) -> frozenset[str]:
        """Ids of all images that have a row."""
        return frozenset(row.image for row in self.rows)

    @cached_property
    def uncertainty(self) -> NDArray[np.float64]:
        """(n,) 0..1, NaN for labelled slices."""
        return np.array([row.uncertainty for row in self.rows], dtype=np.float64)

    @cached_property
    def features(self) -> Features:
        """(n, C); all rows must be of one encoder, see `of_one_encoder`."""
        if not self.rows:
            return np.zeros((0, 1), np.float32)
        return np.stack([row.features for row in self.rows])

    @cached_property
    def relative(self) -> NDArray[np.float64]:
        """(n,) share of the slices scored by the same network that are at most as uncertain.

        0..1, comparable between networks: a better one is less uncertain everywhere, and while
        its scores replace those of the one before, both stand in one table.
        """
        shares = np.full(len(self.rows), np.nan)
        versions = np.array([row.model_version for row in self.rows])
        for version in np.unique(versions):
            those = np.flatnonzero((versions == version) & ~np.isnan(self.uncertainty))
            values = self.uncertainty[those]
            below = np.searchsorted(np.sort(values), values, side="right")
            shares[those] = below / max(len(those), 1)
        return shares

    def of(self, images: Iterable[str]) -> ScoreTable:
        """The rows of some images."""
        wanted = frozenset(images)
        return ScoreTable(tuple(row for row in self.rows if row.image in wanted))

    def of_one_encoder(self) -> ScoreTable:
        """The rows of one encoder: only their features are comparable.

        The one that has most of the slices which are to be chosen from. Labelled slices are scored
        first after a publication; counted too, they would hide all others until those follow.
        """
        counts: dict[str, int] = {}
        for row in self.rows:
            counts[row.encoder_version] = counts.get(row.encoder_version, 0) + (not row.labelled)
        if len(counts) < 2:
            return self
        most = max(counts, key=lambda name: (counts[name], name))
        return ScoreTable(tuple(row for row in self.rows if row.encoder_version == most))

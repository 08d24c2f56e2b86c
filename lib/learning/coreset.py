"""Choosing slices that are unlike those that are labelled: greedy k-centre on features.

A network that learns from a set of slices does well on slices near one of them; the largest
distance of any slice to its nearest labelled one bounds what it may do worse elsewhere (Sener and
Savarese, Active learning for convolutional neural networks: a core-set approach, 2018). To label
the farthest one next is the greedy way to make that distance small, and at most twice as far from
the best possible (Gonzalez, 1985).

Distances are Euclidean, between vectors of length 1: 0 for the same slice, about 1 for slices that
have nothing in common, at most 2.

Concurrency contract: `Coverage` belongs to one thread at a time; the caller sees to that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lib.learning.slice_score import Features, ScoreTable, SliceScore

BLOCK = 4096
"""So many references at a time, which bounds the memory of a large table of distances."""

Distances = NDArray[np.float64]


def nearest(features: Features, reference: Features) -> Distances:
    """Distance (n,) of each of ``features`` (n, C) to the nearest of ``reference`` (m, C).

    Infinite where there is no reference. One product of n * m * C.
    """
    best = np.full(len(features), np.inf)
    if not len(features):
        return best
    own = np.einsum("nc,nc->n", features, features)
    for start in range(0, len(reference), BLOCK):
        block = reference[start : start + BLOCK]
        square = np.einsum("mc,mc->m", block, block) - 2 * (features @ block.T)
        np.minimum(best, own + square.min(axis=1), out=best)
    return np.asarray(np.sqrt(np.clip(best, 0.0, None)))


def farthest_first(
    features: Features, groups: NDArray[np.intp], distance: Distances, count: int
) -> list[int]:
    """Rows in the order in which greedy k-centre takes them, at most one of each group.

    Where there is no reference yet the first one is the most typical: the nearest to the mean. One
    that is far from everything is as likely a broken image as an interesting one.

    Args:
        features: (n, C).
        groups: (n,) the image of each row; its other slices are taken with it.
        distance: (n,) to the nearest reference, infinite where there is none.
        count: rows taken greedily, n * C each; the rest follows by its distance to those.

    Returns:
        A row of each group.
    """
    left = distance.astype(np.float64).copy()
    first: int | None = None
    if len(left) and np.isinf(left).all():
        first = int(nearest(features, features.mean(axis=0, keepdims=True)).argmin())
    free = np.ones(len(left), dtype=bool)
    taken: list[int] = []
    while free.any() and len(taken) < count:
        row = int(np.where(free, left, -np.inf).argmax()) if first is None else first
        first = None
        taken.append(row)
        free &= groups != groups[row]
        np.minimum(left, nearest(features, features[row : row + 1]), out=left)
    rest = np.flatnonzero(free)
    rest = rest[np.argsort(-left[rest], kind="stable")]
    _, firsts = np.unique(groups[rest], return_index=True)
    return [*taken, *rest[np.sort(firsts)].tolist()]


class Coverage:
    """Distances to what is labelled, kept up to date as labels come one by one.

    The first question costs slices times labelled slices, each later one only what is new.
    """

    def __init__(self) -> None:
        self._seen: dict[SliceScore, None] = {}
        self._near: dict[SliceScore, float] = {}

    def distances(self, pool: ScoreTable, labelled: ScoreTable) -> Distances:
        """Distance (n,) of each row of a pool to the nearest labelled row, infinite without any.

        A row of a labelled image that was replaced since goes on counting: it is a slice of an
        image that is labelled.

        Args:
            pool: what can be chosen.
            labelled: rows of labelled images, of the same encoder.
        """
        encoders = {row.encoder_version for row in labelled.rows}
        if any(
            row.image not in labelled.images or row.encoder_version not in encoders
            for row in self._seen
        ):
            self._seen, self._near = {}, {}  # a label was removed, or another encoder came
        fresh = [row for row in labelled.rows if row not in self._seen]
        self._seen.update(dict.fromkeys(fresh))
        near = np.array([self._near.get(row, np.nan) for row in pool.rows])
        unknown = np.isnan(near)
        if fresh and not unknown.all():
            more = nearest(pool.features[~unknown], stacked(fresh))
            near[~unknown] = np.minimum(near[~unknown], more)
        if unknown.any():
            near[unknown] = nearest(pool.features[unknown], stacked(list(self._seen)))
        self._near = dict(zip(pool.rows, near.tolist(), strict=True))
        return near


def stacked(rows: Sequence[SliceScore]) -> Features:
    """Features (m, C) of some rows."""
    return ScoreTable(tuple(rows)).features

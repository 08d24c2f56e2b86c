"""Which case to label next, and which slice of it; at the level of slices.

* ``uncertainty``: the case with the slice of which the network is least sure.
* ``diversity``: the case with the slice that is farthest from all that are labelled or that
  somebody has just been given; see `lib.learning.coreset`.
* ``hybrid``: the same among the most uncertain quarter of the slices only. Uncertainty alone
  asks for the same difficulty again and again, as neighbouring cases are alike and the network
  learns nothing until it is trained; diversity alone asks for cases that the network already
  does well. So the one says what is worth a label and the other what is not yet covered.
* ``sequential``: in the order of their names, for a study that is labelled completely.
* ``random``: any case, each as likely as the others; what all others must be measured against.

A case without scores comes after all that have some, in random order; it is named "not scored
yet". Nothing here decodes or encodes. 1000 cases of 5 slices take some milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib.learning.coreset import Distances, farthest_first
from lib.learning.slice_score import ScoreTable

UNCERTAIN_SHARE = 0.25
"""Hybrid looks at so many of the slices, the most uncertain."""
FEWEST = 8
"""But at so many at least, where there are as many."""
GREEDY = 16
"""So many choices are exact; those behind them come into play where so many cases are leased."""


@dataclass(frozen=True)
class Choice:
    """A case to label.

    Attributes:
        image: id in the datastore.
        k: slice to begin with; None where nothing is known of the case.
        score: what decided: the uncertainty (0..1) or the distance (0..2); None where chance or
            order did.
        reason: one phrase for people.
    """

    image: str
    k: int | None
    score: float | None
    reason: str


@dataclass(frozen=True, eq=False)
class Pool:
    """What can be labelled.

    Attributes:
        images: ids of all unlabelled cases.
        table: their scored slices, of one encoder.
        distance: (n,) of each row of the table to the nearest slice that is labelled or given
            away; infinite where there is none.
    """

    images: Sequence[str]
    table: ScoreTable
    distance: Distances


def rank(strategy: str, pool: Pool, rng: np.random.Generator) -> tuple[Choice, ...]:
    """All cases of a pool, the one to label next first.

    Args:
        strategy: one of `STRATEGIES`.
        pool: of unlabelled cases.
        rng: for chance and for what is equal.

    Raises:
        KeyError: no such strategy.
    """
    order = STRATEGIES[strategy].rank(pool, rng)
    known = {choice.image for choice in order}
    # Without a look at what is unknown a strategy would never learn of it: the scorer does.
    others = [image for image in pool.images if image not in known]
    rest = [others[n] for n in rng.permutation(len(others))]
    return (*order, *(Choice(image, None, None, "not scored yet") for image in rest))


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that puts "case 10" behind "case 9"."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts)


def _uncertainty(pool: Pool, rng: np.random.Generator) -> list[Choice]:
    rows = _by_uncertainty(pool.table)
    return [_unsure(pool, row) for row in _first_of_each(_groups(pool), rows)]


def _diversity(pool: Pool, rng: np.random.Generator) -> list[Choice]:
    table = pool.table
    rows = farthest_first(table.features, _groups(pool), pool.distance, GREEDY)
    return [_far(pool, row, "") for row in rows]


def _hybrid(pool: Pool, rng: np.random.Generator) -> list[Choice]:
    ranked = _by_uncertainty(pool.table)
    size = max(int(np.ceil(UNCERTAIN_SHARE * len(ranked))), min(FEWEST, len(ranked)))
    top, groups = ranked[:size], _groups(pool)
    inside = farthest_first(pool.table.features[top], groups[top], pool.distance[top], GREEDY)
    among = f" among the {size} most uncertain of {len(ranked)} slices"
    first = [_far(pool, int(top[n]), among) for n in inside]
    known = {choice.image for choice in first}
    rest = [_unsure(pool, row) for row in _first_of_each(groups, ranked[size:])]
    return [*first, *(choice for choice in rest if choice.image not in known)]


def _sequential(pool: Pool, rng: np.random.Generator) -> list[Choice]:
    slices = _most_uncertain_slice(pool)
    return [
        Choice(image, slices.get(image), None, "the next in the order of names")
        for image in sorted(pool.images, key=natural)
    ]


def _random(pool: Pool, rng: np.random.Generator) -> list[Choice]:
    shuffled = [pool.images[n] for n in rng.permutation(len(pool.images))]
    rows: dict[str, list[int]] = {}
    for row in pool.table.rows:
        rows.setdefault(row.image, []).append(row.k)
    slices = {image: ks[int(rng.integers(len(ks)))] for image, ks in rows.items()}
    return [Choice(image, slices.get(image), None, "drawn at random") for image in shuffled]


@dataclass(frozen=True)
class Rule:
    """One strategy: how it is told, and how it ranks the cases it knows something of."""

    description: str
    rank: Callable[[Pool, np.random.Generator], list[Choice]]


STRATEGIES = {
    "hybrid": Rule("uncertain cases that are unlike the labelled ones", _hybrid),
    "uncertainty": Rule("the case of which the network is least sure", _uncertainty),
    "diversity": Rule("the case least like those that are labelled", _diversity),
    "sequential": Rule("the next case in the order of names", _sequential),
    "random": Rule("any case, drawn at random", _random),
}
"""All strategies by name."""


def _by_uncertainty(table: ScoreTable) -> NDArray[np.intp]:
    """Rows from the most uncertain to the least; by share, then by value."""
    return np.asarray(np.lexsort((-table.uncertainty, -table.relative)))


def _groups(pool: Pool) -> NDArray[np.intp]:
    """(n,) a number for the image of each row."""
    numbers: dict[str, int] = {}
    rows = pool.table.rows
    return np.array([numbers.setdefault(r.image, len(numbers)) for r in rows], dtype=np.intp)


def _first_of_each(groups: NDArray[np.intp], rows: NDArray[np.intp]) -> list[int]:
    """Of rows in an order, the first one of each group, in that order."""
    _, firsts = np.unique(groups[rows], return_index=True)
    return [int(row) for row in rows[np.sort(firsts)]]


def _most_uncertain_slice(pool: Pool) -> dict[str, int]:
    rows = _first_of_each(_groups(pool), _by_uncertainty(pool.table))
    return {pool.table.rows[row].image: pool.table.rows[row].k for row in rows}


def _unsure(pool: Pool, row: int) -> Choice:
    found, share = pool.table.rows[row], pool.table.relative[row]
    reason = f"uncertainty {found.uncertainty:.2f}, at least that of {share:.0%} of all slices"
    return Choice(found.image, found.k, found.uncertainty, reason)


def _far(pool: Pool, row: int, among: str) -> Choice:
    found, distance = pool.table.rows[row], float(pool.distance[row])
    unsure = f", uncertainty {found.uncertainty:.2f}"
    if np.isinf(distance):
        reason = f"nothing is labelled yet: typical or unlike those before it{among}{unsure}"
        return Choice(found.image, found.k, None, reason)
    reason = f"{distance:.2f} from what is labelled or handed out, the farthest{among}{unsure}"
    return Choice(found.image, found.k, distance, reason)

"""What to label next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from lib.learning.coreset import nearest
from lib.learning.slice_score import ScoreTable
from lib.learning.strategies import FEWEST, STRATEGIES, Choice, Pool, natural, rank
from lib.options import STRATEGIES as OPTION_VALUES
from tests.learning.rows import direction, row, table


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pool(rows: ScoreTable, images: Sequence[str] = (), labelled: float | None = 0.0) -> Pool:
    """What can be chosen; labelled is a slice in the direction of that angle, or nothing."""
    known = sorted(rows.images)
    distance = np.full(len(rows), np.inf)
    if labelled is not None:
        distance = nearest(rows.features, direction(labelled)[None])
    return Pool((*known, *images), rows, distance)


def names(choices: Sequence[Choice]) -> list[str]:
    return [choice.image for choice in choices]


CASES = table(
    row("a", 1, 0.2, angle=0.1),
    row("a", 4, 0.9, angle=0.2),
    row("b", 2, 0.5, angle=3.0),
    row("c", 3, 0.7, angle=1.5),
    row("c", 6, 0.1, angle=1.4),
)


def test_the_option_knows_the_same_names() -> None:
    assert tuple(STRATEGIES) == OPTION_VALUES


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_names_every_case_once(strategy: str) -> None:
    choices = rank(strategy, pool(CASES, ["unknown 1", "unknown 2"]), rng())
    assert sorted(names(choices)) == ["a", "b", "c", "unknown 1", "unknown 2"]
    if strategy not in ("sequential", "random"):
        assert {c.reason for c in choices[3:]} == {"not scored yet"}
    for choice in choices:
        assert (choice.k is None) == choice.image.startswith("unknown")
        assert choice.reason


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_works_without_any_score(strategy: str) -> None:
    choices = rank(strategy, pool(ScoreTable(), ["x", "y", "z"]), rng())
    assert sorted(names(choices)) == ["x", "y", "z"]
    assert rank(strategy, pool(ScoreTable()), rng()) == ()


def test_unknown_cases_come_in_random_order() -> None:
    images = [f"case{n}" for n in range(30)]
    orders = {tuple(names(rank("hybrid", pool(ScoreTable(), images), rng(s)))) for s in range(5)}
    assert len(orders) == 5


def test_uncertainty_takes_the_most_uncertain_slice() -> None:
    choices = rank("uncertainty", pool(CASES), rng())
    assert [(c.image, c.k, c.score) for c in choices] == [
        ("a", 4, 0.9),
        ("c", 3, 0.7),
        ("b", 2, 0.5),
    ]
    assert "0.90" in choices[0].reason
    assert "100%" in choices[0].reason


def test_diversity_takes_the_slice_unlike_the_labelled_ones() -> None:
    choices = rank("diversity", pool(CASES, labelled=0.0), rng())
    assert [(c.image, c.k) for c in choices] == [("b", 2), ("c", 3), ("a", 4)]
    assert choices[0].score == pytest.approx(2 * np.sin(1.5), abs=1e-3)
    assert names(rank("diversity", pool(CASES, labelled=3.0), rng()))[0] == "a"


def test_diversity_does_not_take_two_that_are_alike() -> None:
    cases = table(row("a", angle=3.0), row("b", angle=2.95), row("c", angle=1.6))
    assert names(rank("diversity", pool(cases), rng())) == ["a", "c", "b"]


def many() -> ScoreTable:
    """32 cases; the most uncertain quarter lies close to the label, but for one."""
    rows = [row(f"dull{n:02d}", uncertainty=0.1 + n / 1000, angle=3.0) for n in range(24)]
    rows += [row(f"near{n}", uncertainty=0.8, angle=0.1) for n in range(7)]
    return table(*rows, row("wanted", uncertainty=0.7, angle=1.5))


def test_hybrid_takes_the_farthest_of_the_most_uncertain() -> None:
    choices = rank("hybrid", pool(many()), rng())
    assert choices[0].image == "wanted"
    assert "8 most uncertain of 32" in choices[0].reason
    assert {name[:4] for name in names(choices)[1:8]} == {"near"}
    # Neither part of it alone would have taken that case.
    assert rank("uncertainty", pool(many()), rng())[0].image.startswith("near")
    assert rank("diversity", pool(many()), rng())[0].image.startswith("dull")


def test_hybrid_looks_at_several_where_there_are_few() -> None:
    cases = table(*(row(f"case{n}", uncertainty=n / 10, angle=n) for n in range(3)))
    choices = rank("hybrid", pool(cases), rng())
    assert len(cases) < FEWEST
    assert names(choices)[0] == names(rank("diversity", pool(cases), rng()))[0]


def test_without_a_label_the_first_case_is_typical() -> None:
    cases = table(*(row(f"same{n}", angle=n / 10) for n in range(5)), row("odd", angle=3.0))
    for strategy in ("diversity", "hybrid"):
        first, second = rank(strategy, pool(cases, labelled=None), rng())[:2]
        assert first.image.startswith("same")
        assert "nothing is labelled yet" in first.reason
        assert second.image == "odd"


def test_sequential_follows_the_names_as_people_read_them() -> None:
    cases = table(row("case 10", 3), row("case 9", 1, 0.2), row("case 9", 2, 0.4))
    choices = rank("sequential", pool(cases, ["case 1", "b"]), rng())
    assert [(c.image, c.k) for c in choices] == [
        ("b", None), ("case 1", None), ("case 9", 2), ("case 10", 3)
    ]  # fmt: skip
    assert natural("1.2.840.9") < natural("1.2.840.10")
    assert sorted(["9", "a", "-", "10"], key=natural) == ["9", "10", "-", "a"]


def test_random_takes_each_case_as_often_as_the_others() -> None:
    images, generator = [f"case{n}" for n in range(4)], rng()
    firsts = [rank("random", pool(ScoreTable(), images), generator)[0].image for _ in range(400)]
    assert min(firsts.count(image) for image in images) > 60


def test_an_unknown_strategy() -> None:
    with pytest.raises(KeyError):
        rank("best", pool(CASES), rng())

"""Greedy k-centre and what is covered."""

from __future__ import annotations

import numpy as np
import pytest

from lib.learning import coreset
from lib.learning.coreset import Coverage, farthest_first, nearest, stacked
from tests.learning.rows import direction, row, table


def angles(*values: float) -> np.ndarray:
    return np.stack([direction(v) for v in values])


def test_nearest_is_the_smallest_euclidean_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    features, reference = rng.normal(size=(2, 40, 8)).astype(np.float32)
    expected = np.linalg.norm(features[:, None] - reference[None], axis=2).min(axis=1)
    assert nearest(features, reference) == pytest.approx(expected, abs=1e-5)
    monkeypatch.setattr(coreset, "BLOCK", 7)
    assert nearest(features, reference) == pytest.approx(expected, abs=1e-5)
    assert np.isinf(nearest(features, reference[:0])).all()
    assert len(nearest(features[:0], reference)) == 0


def test_the_farthest_comes_first_then_the_farthest_from_both() -> None:
    features = angles(0.2, 3.0, 1.5, 2.9)
    distance = nearest(features, angles(0.0))
    order = farthest_first(features, np.arange(4), distance, count=4)
    # 2.9 is far from the reference, too, but near to what was taken first.
    assert order == [1, 2, 0, 3]
    assert farthest_first(features, np.arange(4), distance, count=1)[0] == 1


def test_one_row_of_each_image() -> None:
    features = angles(3.0, 2.0, 1.0, 0.5)
    groups = np.array([0, 0, 1, 1])
    distance = nearest(features, angles(0.0))
    assert farthest_first(features, groups, distance, count=4) == [0, 2]
    assert farthest_first(features, groups, distance, count=1) == [0, 2]


def test_without_a_reference_the_most_typical_comes_first() -> None:
    features = angles(0.0, 0.1, 0.2, 2.5)
    order = farthest_first(features, np.arange(4), np.full(4, np.inf), count=4)
    assert order[:2] == [2, 3]
    assert sorted(order) == [0, 1, 2, 3]


def test_an_empty_pool() -> None:
    empty = np.zeros((0, 4), np.float32)
    assert farthest_first(empty, np.zeros(0, np.intp), np.zeros(0), count=3) == []


def test_coverage_equals_the_plain_distances_as_labels_come() -> None:
    rng = np.random.default_rng(1)
    rows = [row(f"case{n // 2}", n % 2, angle=float(rng.uniform(0, 3))) for n in range(40)]
    whole, coverage = table(*rows), Coverage()
    for count in (0, 3, 4, 4, 9):
        labelled = whole.of(f"case{n}" for n in range(count))
        pool = whole.of(f"case{n}" for n in range(count, 20))
        expected = nearest(pool.features, labelled.features)
        if not count:
            expected = np.full(len(pool), np.inf)
        assert coverage.distances(pool, labelled) == pytest.approx(expected, abs=1e-5)


def test_coverage_asks_only_for_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = table(*(row(f"case{n}", angle=n / 10) for n in range(20)))
    coverage, sizes = Coverage(), []

    def noted(features, reference):  # type: ignore[no-untyped-def]
        sizes.append((len(features), len(reference)))
        return nearest(features, reference)

    monkeypatch.setattr(coreset, "nearest", noted)
    pool = whole.of(f"case{n}" for n in range(10, 20))
    coverage.distances(pool, whole.of(f"case{n}" for n in range(8)))
    coverage.distances(pool, whole.of(f"case{n}" for n in range(9)))
    coverage.distances(pool, whole.of(f"case{n}" for n in range(9)))
    more = table(*pool.rows, row("new"))
    coverage.distances(more, whole.of(f"case{n}" for n in range(9)))
    assert sizes == [(10, 8), (10, 1), (1, 9)]


def test_a_label_that_is_removed_no_longer_covers() -> None:
    whole, coverage = table(row("a"), row("b", angle=1.0), row("c", angle=0.1)), Coverage()
    pool = whole.of(["c"])
    near = coverage.distances(pool, whole.of(["a", "b"]))
    far = coverage.distances(pool, whole.of(["b"]))
    assert far[0] > near[0] + 0.5


def test_another_encoders_slices_do_not_count() -> None:
    coverage = Coverage()
    pool, new = table(row("c", angle=0.1)), table(row("c", angle=0.1, encoder="enc-2"))
    coverage.distances(pool, table(row("a")))
    other = coverage.distances(new, table(row("a", angle=2.0, encoder="enc-2")))
    assert other == pytest.approx(nearest(new.features, angles(2.0)), abs=1e-6)


def test_stacked_is_a_matrix() -> None:
    assert stacked([row("a"), row("b", angle=1.0)]).shape == (2, 4)

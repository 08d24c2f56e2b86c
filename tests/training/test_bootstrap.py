"""Intervals by resampling patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lib.training.bootstrap import Interval, mean_intervals

VALUES = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 30), st.just(2)), elements=st.floats(-1, 1)
)


@given(VALUES, st.integers(1, 6))
def test_the_mean_is_that_of_all_rows_and_the_interval_within_the_data(
    values: np.ndarray, patients: int
) -> None:
    groups = [f"p{n % patients}" for n in range(len(values))]
    for column, interval in zip(values.T, mean_intervals(values, groups), strict=True):
        assert interval.mean == pytest.approx(column.mean())
        assert column.min() - 1e-9 <= interval.low <= interval.high <= column.max() + 1e-9


def test_it_agrees_with_the_normal_law_where_patients_have_one_object() -> None:
    values = np.random.default_rng(1).normal(0.1, 0.2, (400, 1))
    (interval,) = mean_intervals(values, [str(n) for n in range(400)])
    error = values.std() / np.sqrt(400)
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_many_objects_of_few_patients_promise_little() -> None:
    rng = np.random.default_rng(2)
    values = np.repeat(rng.normal(0, 0.2, 6), 50)[:, None]
    alike = [str(n // 50) for n in range(300)]
    (by_patient,) = mean_intervals(values, alike)
    (by_object,) = mean_intervals(values, [str(n) for n in range(300)])
    assert by_patient.high - by_patient.low > 3 * (by_object.high - by_object.low)


def test_patients_of_different_size_count_by_their_objects() -> None:
    values = np.array([[0.0]] * 9 + [[1.0]])
    (interval,) = mean_intervals(values, ["big"] * 9 + ["small"])
    assert interval.mean == pytest.approx(0.1)
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_one_patient_is_resampled_by_objects() -> None:
    values = np.linspace(0, 1, 20)[:, None]
    (interval,) = mean_intervals(values, ["only"] * 20)
    assert interval.low < interval.mean < interval.high
    assert mean_intervals(values[:1] + 0.25, ["only"]) == (Interval(0.25, 0.25, 0.25),)


def test_the_seed_decides() -> None:
    values = np.random.default_rng(3).normal(size=(30, 1))
    groups = [str(n % 7) for n in range(30)]
    assert mean_intervals(values, groups) == mean_intervals(values, groups)
    assert mean_intervals(values, groups) != mean_intervals(values, groups, seed=1)


@pytest.mark.parametrize("rows", [0, 2])
def test_rows_and_groups_must_match(rows: int) -> None:
    with pytest.raises(ValueError, match="groups"):
        mean_intervals(np.zeros((rows, 1)), ["a"])


def test_as_text() -> None:
    assert str(Interval(0.0532, -0.021, 0.08)) == "+0.053 (95 % interval -0.021 to +0.080)"

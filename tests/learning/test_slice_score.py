"""Slices and tables of slices."""

from __future__ import annotations

import numpy as np
import pytest

from lib.learning.slice_score import ScoreTable, pooled
from tests.learning.rows import row, table


def test_pooled_is_the_direction_of_the_mean() -> None:
    embedding = np.zeros((1, 3, 2, 2), np.float32)
    embedding[0, 0] = 6
    embedding[0, 1] = [[16, 0], [0, 16]]
    assert pooled(embedding) == pytest.approx([0.6, 0.8, 0.0])
    assert pooled(10 * embedding) == pytest.approx(pooled(embedding))
    assert pooled(np.zeros((1, 3, 2, 2), np.float32)).tolist() == [0, 0, 0]
    assert np.isfinite(pooled(np.full((1, 3, 2, 2), np.nan, np.float32))).all()


def test_uncertainties_are_compared_within_one_version() -> None:
    # The newer version is surer of everything; the two orders are kept and interleaved.
    rows = table(
        row("a", uncertainty=0.8, model="old"),
        row("b", uncertainty=0.4, model="old"),
        row("c", uncertainty=0.2, model="new"),
        row("d", uncertainty=0.1, model="new"),
        row("e", uncertainty=float("nan"), labelled=True, model="new"),
    )
    assert rows.relative[:4].tolist() == [1.0, 0.5, 1.0, 0.5]
    assert np.isnan(rows.relative[4])


def test_equal_uncertainties_have_equal_shares() -> None:
    rows = table(*(row("a", k, 0.3) for k in range(3)), row("b", 0, 0.1))
    assert rows.relative.tolist() == [1.0, 1.0, 1.0, 0.25]


def test_an_empty_table() -> None:
    empty = ScoreTable()
    assert len(empty) == len(empty.relative) == len(empty.features) == 0
    assert empty.of_one_encoder() is empty


def test_only_one_encoders_features_are_compared() -> None:
    rows = table(row("a", 0), row("a", 1), row("b", encoder="enc-2"))
    assert rows.of_one_encoder().images == {"a"}
    assert table(row("a"), row("b")).of_one_encoder().images == {"a", "b"}
    assert rows.of(["b"]).images == {"b"}


def test_labelled_slices_of_a_new_encoder_do_not_hide_the_others() -> None:
    # After a publication labelled slices are the first that the new encoder has seen.
    new = [row("a", k, labelled=True, encoder="enc-2") for k in range(3)]
    assert table(*new, row("b"), row("c")).of_one_encoder().images == {"b", "c"}

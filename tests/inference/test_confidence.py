from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.inference.confidence import (
    GREY_BINS,
    Judgement,
    grey_values,
    histogram,
    judge,
    overlap,
    trust,
)
from lib.inference.decoder import LowRes
from lib.inference.view import SliceView
from tests.support.discs import disc

EMPTY = disc(0, 0, 0)


def grey_of(level):
    return np.full((64, 64), level, dtype=np.uint8)


def test_overlap():
    assert overlap(disc(30, 30, 8), disc(30, 30, 8)) == pytest.approx(1)
    near, far = overlap(disc(30, 30, 8), disc(33, 30, 8)), overlap(disc(30, 30, 8), disc(50, 30, 8))
    assert 1 > near > far
    # A jump in area, with the smaller mask inside the larger one.
    assert overlap(disc(30, 30, 8), disc(30, 30, 24)) < 0.5


@given(st.floats(0, 63), st.floats(0, 63), st.floats(0, 30), st.floats(0, 30))
def test_overlap_is_symmetric_and_between_0_and_1(x, y, first, second):
    a, b = disc(x, y, first), disc(30, 30, second)
    assert overlap(a, b) == overlap(b, a)
    assert 0 <= overlap(a, b) <= 1 + 1e-6


@pytest.mark.parametrize(("iou", "expected"), [(0.7, 0.7), (1.3, 1), (-0.2, 0), (np.nan, 0)])
def test_predicted_iou_becomes_a_number_in_0_1(iou, expected):
    assert trust(LowRes(EMPTY.logits, iou)) == expected


def test_a_histogram_is_of_the_inside():
    grey = grey_of(10)
    grey[22:39, 22:39] = 200
    shares = histogram(grey, disc(30, 30, 6))
    assert shares.shape == (GREY_BINS,)
    assert shares.sum() == pytest.approx(1)
    assert shares.argmax() == 200 // 8
    assert shares[10 // 8] == 0
    assert not histogram(grey, EMPTY).any()


def test_another_tissue_is_not_the_object():
    answer = disc(30, 30, 8)
    reference = histogram(grey_of(120), answer)
    same = judge(answer, answer, grey_of(121), reference)
    other = judge(answer, answer, grey_of(220), reference)
    assert same.similarity == pytest.approx(1)
    assert other.similarity < 0.01
    assert other.confidence < 0.01 < same.confidence
    assert same.iou == other.iou == 0.9


def test_the_confidence_is_the_product():
    assert Judgement(0.5, 0.4, 0.3).confidence == pytest.approx(0.06)
    assert Judgement(0.5).confidence == 0.5


@pytest.mark.parametrize("shape", [(30, 50), (300, 200), (40, 40, 3)])
def test_grey_values_lie_on_the_grid_of_the_masks(shape):
    image = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    image[:, : shape[1] // 2] //= 8
    grey = grey_values(SliceView(image))
    assert grey.shape == (64, 64)
    assert grey.dtype == np.uint8
    assert grey[:, :31].mean() < grey[:, 33:].mean()

from __future__ import annotations

import numpy as np
import pytest

from lib.inference.correction import corrected, is_positive, nowhere, refuses
from lib.inference.neighbour import has_object
from lib.prompts import Prompt
from tests.support.discs import click, disc

START = disc(32, 32, 12)


def test_the_click_inside_the_mask_comes_first():
    prompt = corrected(click(50, 30), START, 64, 64)
    assert prompt.points == ((32, 32), (50, 30))
    assert prompt.labels == (1, 1)
    np.testing.assert_array_equal(prompt.mask, START.logits)


def test_it_keeps_away_from_background_clicks():
    prompt = corrected(click(34, 32, label=0), START, 64, 64)
    (x, y), refused = prompt.points
    assert refused == (34, 32)
    assert np.hypot(x - 34, y - 32) > 4
    assert np.hypot(x - 32, y - 32) < 12


def test_a_mask_of_one_pixel_that_is_background():
    prompt = corrected(click(5, 5, label=0), disc(5, 5, 0.5), 64, 64)
    assert prompt.points == ((5, 5),)
    assert prompt.mask is not None


def test_pixels_of_the_slice_and_of_the_grid_are_not_mixed_up():
    # A slice of 640 columns and 128 rows: pixel (300, 20) is (30, 10) on the grid of 64.
    start = disc(30, 10, 6)
    assert refuses(click(300, 20, label=0), start, 128, 640)
    assert not refuses(click(300, 100, label=0), start, 128, 640)
    x, y = corrected(click(0, 0), start, 128, 640).points[0]
    assert (x, y) == (304.5, 20.5)


@pytest.mark.parametrize(
    ("prompt", "refused"),
    [
        (click(32, 32, label=0), True),
        (click(33, 32, label=0), True),
        (click(43, 32, label=0), False),
        (click(60, 32, label=0), False),
        (Prompt(points=((43, 32), (32, 32)), labels=(0, 0)), True),
        (Prompt(points=((40, 32), (32, 32)), labels=(1, 0)), False),
        (Prompt(points=((32, 32),), labels=(0,), box=(1, 1, 50, 50)), False),
    ],
)
def test_background_in_the_middle_refuses_the_slice(prompt, refused):
    assert refuses(prompt, START, 64, 64) == refused


def test_background_where_nothing_is_refuses_the_slice():
    assert refuses(click(32, 32, label=0), None, 64, 64)
    assert refuses(click(32, 32, label=0), disc(0, 0, 0), 64, 64)
    assert not refuses(click(32, 32), None, 64, 64)


def test_what_says_where_the_object_is():
    assert is_positive(click())
    assert is_positive(Prompt(box=(1, 1, 5, 5)))
    assert not is_positive(click(label=0))
    assert not has_object(nowhere())

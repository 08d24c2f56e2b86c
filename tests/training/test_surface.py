"""Which share of two outlines runs close to each other."""

from __future__ import annotations

import numpy as np
import pytest

from lib.training.surface import surface_dice
from tests.support.small_sam import disc


def test_equal_masks_agree() -> None:
    assert surface_dice(disc(100, 100, 40), disc(100, 100, 40)) == 1.0


def test_what_lies_within_the_tolerance_agrees() -> None:
    mask = disc(100, 100, 40)
    assert surface_dice(disc(101, 100, 40), mask) == 1.0
    assert surface_dice(disc(100, 100, 30), mask) == 0.0
    assert 0.2 < surface_dice(disc(106, 100, 40), mask) < 0.8
    assert surface_dice(disc(100, 100, 30), mask, tolerance=12.0) == 1.0


def test_the_tolerance_grows_with_the_image() -> None:
    square = np.zeros((256, 256), bool)
    square[100:150, 100:150] = True
    moved = np.roll(square, 3, axis=0)
    assert surface_dice(moved, square) < 0.7
    wide = np.pad(square, ((0, 0), (0, 256)))
    assert surface_dice(np.pad(moved, ((0, 0), (0, 256))), wide) == 1.0


def test_the_border_of_the_image_is_an_outline() -> None:
    half = np.zeros((256, 256), bool)
    half[:, :128] = True
    less = half.copy()
    less[:, :10] = False
    assert surface_dice(less, half) < 0.9


def test_empty_masks() -> None:
    mask = disc(100, 100, 40)
    assert surface_dice(mask & False, mask) == 0.0
    assert surface_dice(mask, mask & False) == 0.0
    assert surface_dice(mask & False, mask & False) == 1.0


@pytest.mark.parametrize("shape", [(4, 6), (4,), (4, 5, 1)])
def test_wrong_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        surface_dice(np.ones(shape, bool), np.ones((4, 5), bool))

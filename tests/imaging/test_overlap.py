"""Pixels that two labels claim."""

from __future__ import annotations

import numpy as np
import pytest

from lib.imaging.overlap import without_others

LABELS = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


def test_pixels_of_others_are_left_out_and_own_ones_are_not() -> None:
    everything = np.ones((2, 3), bool)
    assert without_others(everything, LABELS, 1).tolist() == [[1, 1, 0], [0, 1, 1]]
    assert without_others(everything, LABELS, 3).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert not without_others(~everything, LABELS, 1).any()


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        without_others(np.ones((3, 2), bool), LABELS, 1)

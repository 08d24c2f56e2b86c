"""The PNG encoder, read back with Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib.data.builder.png import encode_bits, encode_png


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 9), st.booleans())
def test_pixels_come_back(height: int, width: int, seed: int, colour: bool) -> None:
    shape = (height, width, 3) if colour else (height, width)
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    picture = Image.open(io.BytesIO(encode_png(pixels)))
    assert picture.mode == ("RGB" if colour else "L")
    np.testing.assert_array_equal(np.asarray(picture), pixels)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_bits_come_back(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    picture = Image.open(io.BytesIO(encode_bits(mask)))
    assert picture.mode == "1"
    np.testing.assert_array_equal(np.asarray(picture), mask)


@pytest.mark.parametrize("turn", [lambda a: a.T, lambda a: a[::-1], lambda a: a[:, ::2]])
def test_views_are_encoded_as_they_look(turn) -> None:
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30).astype(np.uint8)
    picture = Image.open(io.BytesIO(encode_png(turn(pixels))))
    np.testing.assert_array_equal(np.asarray(picture), turn(pixels))

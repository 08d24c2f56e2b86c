from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lib.inference.volume_mask import PackedMask


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_a_mask_comes_back_as_it_was(mask):
    packed = PackedMask.pack(mask)
    np.testing.assert_array_equal(packed.unpack(), mask)
    assert packed.unpack().dtype == np.bool_
    assert packed.is_empty == (not mask.any())


@given(st.integers(0, 480), st.integers(0, 400), st.integers(1, 32), st.integers(1, 64))
def test_it_takes_a_bit_for_each_pixel_of_its_box(x, y, width, height):
    mask = np.zeros((512, 512), dtype=np.bool_)
    mask[y : y + height, x : x + width] = True
    packed = PackedMask.pack(mask)
    assert packed.box == (x, y, x + width, y + height)
    assert packed.nbytes == (width * height + 7) // 8

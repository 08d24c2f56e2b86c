"""Cuts of blobs are found in the box around them alone, and are the same as without the box."""

from __future__ import annotations

import numpy as np
import pytest

from lib.data.body import FAR, Blob, look, random_view, vary


@pytest.mark.parametrize("seed", range(12))
def test_boxes_hold_all_of_a_blob(seed: int) -> None:
    rng = np.random.default_rng(seed)
    section = look(rng, random_view(rng, 100, 350.0, (90.0, 80.0)), 100, 0.0)
    for _ in range(10):
        place = (rng.uniform(-150, 150), rng.uniform(-120, 120), 0.0)
        radii = (rng.uniform(2, 80), rng.uniform(2, 80), 900.0)
        blob = vary(rng, place, radii, rng.uniform(0, 3), wave=0.15)
        level = blob.level(section)
        near = blob.near(section)
        assert np.array_equal(near < 0, level < 0)
        assert np.allclose(near[level < 0], level[level < 0], atol=1e-5)
        for scale in (0.8, 1.3):
            assert np.array_equal(blob.inside(section, scale), level < scale * scale - 1)


def test_a_small_blob_needs_a_small_box() -> None:
    rng = np.random.default_rng(0)
    section = look(rng, random_view(rng, 256, 350.0, (0.0, 0.0)), 256, 0.0)
    blob = Blob((0.0, 0.0, 0.0), (8.0, 8.0, 8.0))
    rows, columns = blob.box(section)
    assert (rows.stop - rows.start) * (columns.stop - columns.start) < 256 * 256 / 4
    assert (blob.near(section) == FAR).mean() > 0.7


def test_far_outside_and_above_there_is_nothing() -> None:
    rng = np.random.default_rng(0)
    section = look(rng, random_view(rng, 64, 350.0, (0.0, 0.0)), 64, 0.0)
    assert not Blob((2000.0, 0.0, 0.0), (9.0, 9.0, 9.0)).inside(section).any()
    assert not Blob((0.0, 0.0, 50.0), (90.0, 90.0, 9.0)).inside(section).any()

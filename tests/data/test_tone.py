"""Changes of tone: shape and seed, and what each of them does."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from lib.data.tone import Toning, retone

SILENT = Toning(**{f.name: 0.0 for f in fields(Toning)})
"""Changes nothing."""

GREY = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
COLOUR = np.stack([GREY, GREY // 2, 255 - GREY], axis=2)


@pytest.mark.parametrize("image", [GREY, COLOUR])
def test_nothing_is_changed_where_nothing_is_asked_for(image: np.ndarray) -> None:
    assert np.array_equal(retone(image, np.random.default_rng(0), SILENT), image)


@pytest.mark.parametrize("image", [GREY, COLOUR])
def test_seeds_repeat_and_differ(image: np.ndarray) -> None:
    first = [retone(image, np.random.default_rng(s), Toning()) for s in range(12)]
    again = [retone(image, np.random.default_rng(s), Toning()) for s in range(12)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({tone.tobytes() for tone in first}) >= 10
    assert all(tone.dtype == np.uint8 and tone.shape[:2] == (64, 64) for tone in first)


def test_negatives() -> None:
    found = retone(GREY, np.random.default_rng(0), replace(SILENT, invert_share=1.0))
    assert np.array_equal(found, 255 - GREY)


def test_curves_keep_the_order_of_grey_values() -> None:
    plan = replace(SILENT, curve_share=1.0, gamma=0.3)
    for seed in range(10):
        found = retone(GREY, np.random.default_rng(seed), plan).astype(int)
        assert (np.diff(found, axis=1) >= 0).all()
        assert not np.array_equal(found, GREY)


def test_noise_is_of_all_strengths_up_to_the_largest() -> None:
    plan = replace(SILENT, noise_share=1.0, noise=20.0)
    flat = np.full((64, 64), 128, np.uint8)
    spread = [retone(flat, np.random.default_rng(s), plan).std() for s in range(40)]
    assert min(spread) < 3 < 10 < max(spread) < 40


def test_softening_takes_detail_away() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    plan = replace(SILENT, soften_share=1.0)
    spread = [retone(noise, np.random.default_rng(s), plan).std() for s in range(20)]
    assert np.median(spread) < 0.8 * noise.std()


def test_a_gain_is_smooth() -> None:
    flat = np.full((64, 64), 128, np.uint8)
    plan = replace(SILENT, bias_share=1.0)
    for seed in range(5):
        found = retone(flat, np.random.default_rng(seed), plan).astype(int)
        assert found.std() > 1
        assert np.abs(np.diff(found, axis=0)).max() <= 6


def test_compression_stays_near_the_image() -> None:
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    found = retone(smooth, np.random.default_rng(0), replace(SILENT, jpeg_share=1.0))
    assert not np.array_equal(found, smooth)
    assert np.abs(found.astype(int) - smooth).mean() < 10


def test_colours_come_and_go() -> None:
    tinted = retone(GREY, np.random.default_rng(0), replace(SILENT, tint_share=1.0))
    assert tinted.shape == (64, 64, 3)
    assert np.ptp(tinted.astype(int), axis=2).max() > 15
    assert retone(COLOUR, np.random.default_rng(0), replace(SILENT, grey_share=1.0)).ndim == 2
    mixed = retone(COLOUR, np.random.default_rng(0), replace(SILENT, colour_share=1.0))
    assert mixed.shape == COLOUR.shape and not np.array_equal(mixed, COLOUR)

"""Random variants of images keep image and masks together."""

from __future__ import annotations

import numpy as np
import pytest

from lib.data.augment import Augmentation, augment

QUIET = Augmentation(window_jitter=0.0, gamma=1.0, noise=0.0, invert_share=0.0)


def make_case() -> tuple[np.ndarray, np.ndarray]:
    """A bright rectangle on black, 120 x 90; its mask."""
    mask = np.zeros((1, 120, 90), dtype=bool)
    mask[0, 30:80, 20:60] = True
    return np.where(mask[0], 1000.0, 0.0).astype(np.float32), mask


@pytest.mark.parametrize("seed", range(20))
def test_masks_follow_the_image(seed: int) -> None:
    image, masks = make_case()
    picture, moved = augment(image, masks, 64, np.random.default_rng(seed), QUIET)
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8
    assert moved.shape == (1, 64, 64)
    bright = picture[..., 0] > 127
    agreement = (bright == moved[0]).mean()
    assert agreement > 0.93  # only the edge may differ, by rounding or blur
    assert moved.any()


def test_variants_differ_and_seeds_repeat() -> None:
    image, masks = make_case()
    plan = Augmentation()
    first = [augment(image, masks, 64, np.random.default_rng(s), plan)[0] for s in range(8)]
    again = [augment(image, masks, 64, np.random.default_rng(s), plan)[0] for s in range(8)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({picture.tobytes() for picture in first}) == 8


def test_colour_stays_colour() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (50, 60, 3), dtype=np.uint8)
    picture, _ = augment(image, np.ones((1, 50, 60), bool), 64, rng, Augmentation())
    assert (picture[..., 0] != picture[..., 1]).any()


def test_a_ct_is_shown_through_the_window_of_its_body_part() -> None:
    """Water and fat differ on a soft tissue window, and hardly on a bone window."""
    masks = np.ones((1, 64, 64), bool)
    image = np.full((64, 64), -100, np.int16)
    image[:, 32:] = 0
    plan = Augmentation(0.0, 0.35, 0.0, 1.0, 0.0, 0.0)
    steps = {}
    for part in ("ABDOMEN", "SPINE"):
        picture, _ = augment(image, masks, 64, np.random.default_rng(0), plan, "CT", part)
        steps[part] = int(picture.max()) - int(picture.min())
    assert steps["ABDOMEN"] == pytest.approx(255 * 100 / 400, abs=2)
    assert steps["SPINE"] == pytest.approx(255 * 100 / 1800, abs=2)
    unknown, _ = augment(image, masks, 64, np.random.default_rng(0), plan)
    assert int(unknown.max()) - int(unknown.min()) == 255


def test_an_image_may_be_shown_smaller_with_all_of_its_objects() -> None:
    image = np.zeros((64, 48), dtype=np.float32)
    image[10:40, 8:30] = 500.0
    masks = (image > 0)[None]
    plan = Augmentation(crop_share=0.0, shrink_share=1.0, min_shrink=0.5, invert_share=0.0)
    areas = []
    for seed in range(20):
        shown, kept = augment(image, masks, 96, np.random.default_rng(seed), plan)
        assert shown.shape == (96, 96, 3) and kept.shape == (1, 96, 96)
        areas.append(kept.mean())
        assert shown[kept[0]].mean() > 100 > shown[~kept[0]].mean()
    whole = masks.mean()
    assert 0.2 * whole < min(areas) < 0.5 * whole < 0.8 * whole < max(areas) < 1.1 * whole

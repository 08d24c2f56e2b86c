"""Views of an image keep it and its masks together and show objects at all sizes."""

from __future__ import annotations

import numpy as np
import pytest

from lib.data.viewpoint import MAX_MASKS, View, Viewing, random_viewpoint, show

WHOLE = Viewing(whole_share=1.0, bend_share=0.0)
NEVER_WHOLE = Viewing(whole_share=0.0)


def make_case() -> tuple[np.ndarray, np.ndarray]:
    """A bright disc on black, 120 x 90; its mask."""
    y, x = np.mgrid[:120, :90]
    mask = np.hypot(y - 50, x - 40) < 18
    return np.where(mask, 230, 20).astype(np.uint8), mask[None]


@pytest.mark.parametrize("seed", range(20))
def test_masks_follow_the_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, masks = make_case()
    view, chosen = random_viewpoint(masks, 96, rng, NEVER_WHOLE)
    picture, moved = show(image, masks[chosen], view, 96, rng, NEVER_WHOLE)
    assert picture.shape == (96, 96) and picture.dtype == np.uint8
    assert moved.shape == (1, 96, 96) and moved.dtype == np.bool_
    assert moved.any()
    assert ((picture > 125) == moved[0]).mean() > 0.96  # only the outline is interpolated


def test_a_whole_view_mirrors_and_turns_by_right_angles() -> None:
    image, masks = make_case()
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        view, _ = random_viewpoint(masks, 90, rng, WHOLE)
        assert sorted(np.abs(view.matrix).ravel()) == [0, 0, 1, 1]
        _, moved = show(image, masks, view, 90, rng, WHOLE)
        assert moved.mean() == pytest.approx(masks.mean(), rel=0.03)
        seen.add(tuple(view.matrix.ravel()))
    assert len(seen) == 8


def test_the_identity_shows_the_image_itself() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    masks = np.zeros((2, 64, 64), bool)
    masks[0, 5:9, 20:40] = masks[1, 30:60, 3:8] = True
    still = View((0.5, 0.5), np.eye(2))
    picture, moved = show(image, masks, still, 64, np.random.default_rng(0), WHOLE)
    assert np.array_equal(picture, image)
    assert np.array_equal(moved, masks)


def test_a_small_object_becomes_large_and_a_large_one_small() -> None:
    y, x = np.mgrid[:256, :256]
    rng = np.random.default_rng(1)
    for radius in (8, 100):
        masks = (np.hypot(y - 128, x - 128) < radius)[None]
        image = masks[0].astype(np.uint8) * 255
        areas = []
        for _ in range(40):
            view, _ = random_viewpoint(masks, 128, rng, NEVER_WHOLE)
            areas.append(show(image, masks, view, 128, rng, NEVER_WHOLE)[1].mean())
        share = masks.mean()
        assert max(areas) > min(6 * share, 0.45)
        assert min(areas) < max(0.5 * share, 0.005)


def test_a_coarse_view_averages() -> None:
    """A fine chequerboard seen from afar is grey, not an aliased chequerboard."""
    image = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    masks = np.ones((1, 512, 512), bool)
    still = View((0.5, 0.5), np.eye(2))
    picture, _ = show(image, masks, still, 128, np.random.default_rng(0), WHOLE)
    assert picture.std() < 5


def test_no_more_masks_than_bits() -> None:
    masks = np.zeros((30, 40, 40), bool)
    masks[:, 10:20, 10:20] = True
    _, chosen = random_viewpoint(masks, 64, np.random.default_rng(0), WHOLE)
    assert len(set(chosen.tolist())) == MAX_MASKS


def test_an_empty_mask_in_focus_gives_the_whole_image() -> None:
    view, _ = random_viewpoint(np.zeros((1, 9, 9), bool), 64, np.random.default_rng(0), NEVER_WHOLE)
    assert view.centre == (0.5, 0.5)

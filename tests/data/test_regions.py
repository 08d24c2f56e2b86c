"""Segments of real images that serve as objects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lib.data.random_fields import fractal_field
from lib.data.regions import RegionPlan, find_regions


def make_image(seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """Two discs and a bar on a noisy ground (128, 128), and their masks."""
    y, x = np.mgrid[:128, :128]
    parts = [
        np.hypot(y - 40, x - 36) < 17,
        np.hypot(y - 88, x - 88) < 22,
        (abs(y - 100) < 8) & (abs(x - 26) < 18),
    ]
    picture = 90 + 5 * np.random.default_rng(seed).standard_normal((128, 128))
    for part, step in zip(parts, (70, -60, 45), strict=True):
        picture[part] += step
    return np.clip(ndimage.gaussian_filter(picture, 0.7), 0, 255).astype(np.uint8), parts


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_plain_objects_are_found() -> None:
    image, parts = make_image()
    found = find_regions(image)
    for part in parts:
        assert max(iou(part, mask) for mask in found) > 0.85


def test_colour_edges_count() -> None:
    """Red on green of the same brightness is an object too."""
    mask = make_image()[1][1]
    image = np.where(mask[..., None], [170, 60, 90], [60, 170, 60]).astype(np.uint8)
    assert max(iou(mask, found) for found in find_regions(image)) > 0.85


def test_every_region_keeps_the_rules() -> None:
    plan = RegionPlan()
    rng = np.random.default_rng(3)
    image = np.clip(120 + 40 * fractal_field(rng, 160, 140, 30), 0, 255).astype(np.uint8)
    found = find_regions(image, plan)
    assert len(found) >= 3
    assert found.shape[1:] == (160, 140) and found.dtype == np.bool_
    for mask in found:
        assert plan.smallest <= mask.mean() <= 1.2 * plan.largest
        assert ndimage.label(mask)[1] == 1
    for number, mask in enumerate(found):
        assert all(iou(mask, other) < 0.8 for other in found[:number])


@pytest.mark.parametrize("shape", [(64, 64), (64, 80, 3)])
def test_nothing_is_found_in_nothing(shape: tuple[int, ...]) -> None:
    assert find_regions(np.full(shape, 70, np.uint8)).shape == (0, *shape[:2])
    noise = np.random.default_rng(0).normal(128, 3, shape).astype(np.uint8)
    assert len(find_regions(noise)) == 0


def test_a_plan_that_asks_for_more_gets_less() -> None:
    image, _ = make_image()
    usual = len(find_regions(image))
    assert len(find_regions(image, replace(RegionPlan(), smallest=0.05))) < usual
    assert len(find_regions(image, replace(RegionPlan(), contrast=65.0))) < usual
    assert len(find_regions(image, replace(RegionPlan(), compactness=1.5))) == 0


def test_what_is_behind_everything_is_no_object() -> None:
    y, x = np.mgrid[:128, :128]
    body = np.hypot(y - 64, x - 64) < 40
    found = find_regions(np.where(body, 180, 10).astype(np.uint8))
    assert any(iou(body, mask) > 0.9 for mask in found)
    assert all(iou(~body, mask) < 0.5 for mask in found)

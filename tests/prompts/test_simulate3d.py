"""The simulated user in volumes: SAM-Med3D's rules against golden numbers, ours by promises."""

from __future__ import annotations

import numpy as np
import pytest

from lib.errors import PromptError
from lib.prompts.simulate import LegacyRandom
from lib.prompts.simulate3d import (
    NO_VOXEL,
    Voxel,
    interior_voxel,
    next_voxel,
    published_click,
    published_deep_click,
    published_training_click,
    random_voxel,
)
from tests.support import golden

SEEDS = range(6)


@pytest.fixture(scope="module")
def clicks():
    return golden.load("sammed3d_clicks.npz")


def same(voxel: Voxel, clicks, key: str, row: int = 0) -> None:
    assert voxel.index == tuple(clicks[f"{key}.points"][row, 0])
    assert voxel.label == clicks[f"{key}.labels"][row, 0]


def ball(radius: int, centre: tuple[int, int, int] = (12, 10, 14)) -> np.ndarray:
    grid = np.indices((24, 22, 30)) - np.reshape(centre, (3, 1, 1, 1))
    return np.square(grid).sum(axis=0) <= radius**2


@pytest.mark.parametrize("seed", SEEDS)
def test_training_clicks_are_the_originals(clicks, seed):
    random = LegacyRandom(seed)
    for row in range(2):
        voxel = published_training_click(clicks["prev"][row, 0] > 0.5, clicks["gt"][row, 0], random)
        same(voxel, clicks, f"train.seed{seed}", row)


@pytest.mark.parametrize("seed", SEEDS)
def test_inference_clicks_are_the_originals(clicks, seed):
    # The original's inference takes every positive value of what it is given for foreground.
    previous, target = clicks["prev"][0, 0] > 0, clicks["gt"][0, 0]
    same(published_click(previous, target, LegacyRandom(seed)), clicks, f"infer.seed{seed}")
    first = published_click(np.zeros_like(previous), target, LegacyRandom(seed))
    same(first, clicks, f"first.seed{seed}")


@pytest.mark.parametrize("seed", SEEDS)
def test_deep_clicks_are_the_originals(clicks, seed):
    previous, target = clicks["prev"][0, 0] > 0, clicks["gt"][0, 0]
    same(published_deep_click(previous, target, LegacyRandom(seed)), clicks, f"ritm.seed{seed}")


def test_where_nothing_is_wrong_no_rule_fails():
    target = ball(4)
    assert next_voxel(target, target) == NO_VOXEL
    assert random_voxel(target, target, np.random.default_rng(0)) == NO_VOXEL
    assert published_training_click(target, target, LegacyRandom(0)) == NO_VOXEL
    assert target[published_click(target, target, LegacyRandom(0)).index]
    assert published_deep_click(target, target, LegacyRandom(0)) == Voxel(12, 11, 15, 0)
    assert next_voxel(target & False, target & False) == NO_VOXEL


def test_the_innermost_voxel_of_the_largest_part():
    target = ball(5) | ball(2, (20, 18, 26))
    assert interior_voxel(target) == Voxel(12, 10, 14, 1)


def test_an_object_cut_by_the_edge_is_clicked_inside():
    target = np.zeros((10, 10, 10), np.uint8)
    target[6:] = 3
    assert interior_voxel(target).i == 7


def test_the_next_click_corrects_the_largest_mistake():
    target = ball(5)
    too_much = target | ball(3, (20, 18, 26))
    assert next_voxel(too_much, target) == Voxel(20, 18, 26, 0)
    missing = too_much.copy()
    missing[target] = False
    assert next_voxel(missing, target) == Voxel(12, 10, 14, 1)
    assert next_voxel(missing & False, target) == interior_voxel(target)


def test_of_mistakes_of_one_size_the_missed_one_is_clicked():
    target, predicted = np.zeros((2, 8, 8, 8), bool)
    target[1, 1, 1] = predicted[5, 5, 5] = True
    assert next_voxel(predicted, target) == Voxel(1, 1, 1, 1)


def test_parts_that_touch_at_a_corner_are_one():
    target = np.zeros((8, 8, 8), bool)
    target[0, 0, 0] = target[1, 1, 1] = True
    target[6, 6, 5:7] = True
    # Both parts have two voxels: the first one in the array's order counts.
    assert interior_voxel(target).index in {(0, 0, 0), (1, 1, 1)}


def test_random_clicks_lie_on_every_mistake_and_say_what_is_right():
    target, predicted = ball(3), ball(3, (14, 10, 14))
    rng = np.random.default_rng(3)
    drawn = [random_voxel(predicted, target, rng) for _ in range(200)]
    assert {voxel.label for voxel in drawn} == {0, 1}
    assert all(target[v.index] == v.label != predicted[v.index] for v in drawn)


@pytest.mark.parametrize(
    "call",
    [
        lambda: interior_voxel(np.zeros((4, 4, 4))),
        lambda: interior_voxel(np.ones((4, 4))),
        lambda: next_voxel(np.ones((4, 4, 4)), np.ones((4, 4, 5))),
        lambda: published_click(np.ones((4, 4, 4)), np.zeros((4, 4, 4)), LegacyRandom(0)),
    ],
)
def test_what_cannot_be_clicked_on_is_refused(call):
    with pytest.raises(PromptError):
        call()

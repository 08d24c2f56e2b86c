from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.inference.propagate import PropagateSettings, Spent, VolumeResult
from lib.inference.volume_mask import PackedMask
from lib.prompts.simulate import Click
from lib.training.evaluate_volume import (
    annotate,
    middle_slice,
    prompts_of,
    volume_dice,
    worst_error,
)
from lib.training.metrics import dice
from tests.support.discs import SIDE, DiscNetwork, disc


def target_of(*slices):
    return np.stack([answer.logits[0] > 0 for answer in slices])


def result_of(masks):
    packed = {k: PackedMask.pack(mask) for k, mask in masks.items()}
    return VolumeResult(packed, {}, (0,), (), 0.5, Spent())


def test_the_middle_slice_halves_the_volume():
    empty, small, large = disc(0, 0, 0), disc(30, 30, 3), disc(30, 30, 20)
    assert middle_slice(target_of(small, small, small, small, large, empty)) == 4
    assert middle_slice(target_of(empty, large, large, large)) == 2


@given(st.integers(0, 2**16 - 1))
def test_dice_is_that_of_the_arrays(seed):
    rng = np.random.default_rng(seed)
    target = rng.random((4, 5, 6)) < 0.4
    masks = {k: rng.random((5, 6)) < 0.5 for k in range(3)}
    whole = np.zeros_like(target)
    for k, mask in masks.items():
        whole[k] = mask
    assert volume_dice(result_of(masks), target) == pytest.approx(dice(whole, target))
    assert volume_dice(result_of(masks), target, only=1) == dice(whole[1], target[1])


def test_nothing_found_of_nothing_is_right():
    assert volume_dice(result_of({}), np.zeros((2, 5, 5), dtype=bool)) == 1.0


def test_the_worst_error():
    target = target_of(disc(30, 30, 5), disc(30, 30, 9), disc(0, 0, 0))
    missed = worst_error(result_of({0: target[0]}), target)
    assert missed == (1, Click(30, 30, 1))
    covered = result_of({0: target[0], 1: target[1], 2: target[1]})
    assert worst_error(covered, target) == (2, Click(30, 30, 0))
    assert worst_error(result_of({0: target[0], 1: target[1]}), target) is None


def test_clicks_as_clients_send_them():
    clicks = {4: [Click(1, 2, 0), Click(3, 4, 1), Click(5, 6, 1)]}
    prompt = prompts_of(clicks)[4]
    assert prompt.points == ((3, 4), (5, 6), (1, 2))
    assert prompt.labels == (1, 1, 0)


def test_one_click_and_corrections():
    # The network gives discs of radius 8: the last slice is too much and gets refused.
    target = target_of(*[disc(30, 30, 8)] * 4, disc(0, 0, 0))
    seen = []
    score = annotate(lambda: DiscNetwork(5), target, 2, PropagateSettings(), lambda: seen.append(1))
    assert score.first_slice == 1
    assert score.seed_dice == 1.0
    assert score.dice[0] == pytest.approx(8 / 9)
    assert score.dice[1:] == (1.0, 1.0)
    assert len(score.seconds) == len(seen) == 3
    assert target.shape[1:] == (SIDE, SIDE)

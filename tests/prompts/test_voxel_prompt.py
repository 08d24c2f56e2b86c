"""Prompts in volumes."""

from __future__ import annotations

import pytest

from lib.errors import PromptError
from lib.prompts.voxel_prompt import VoxelPrompt


def test_foreground_comes_first_in_its_own_order() -> None:
    points = ((1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4))
    clicks = VoxelPrompt(points, (0, 1, 0, 1)).clicks()
    assert clicks.labels == (1, 1, 0, 0)
    assert clicks.points == ((2, 2, 2), (4, 4, 4), (1, 1, 1), (3, 3, 3))


def test_a_box_is_a_click_in_its_middle_and_clicks_beside_it() -> None:
    clicks = VoxelPrompt(((50, 50, 50),), (0,), box=(0, 20, 10, 30, 5, 5)).clicks()
    assert clicks.points[0] == (10, 20, 5) and clicks.labels == (1, *9 * (0,))
    assert clicks.points[1] == (-1, 9, 5) and clicks.points[8] == (21, 31, 5)
    assert clicks.points[9] == (50, 50, 50)


def test_beside_clicks_a_box_is_not_used() -> None:
    prompt = VoxelPrompt(((1, 2, 3),), (1,), box=(0, 9, 0, 9, 0, 9))
    assert prompt.clicks() == VoxelPrompt(((1, 2, 3),), (1,))


def test_prompts_that_say_nothing_are_refused() -> None:
    with pytest.raises(PromptError, match="no foreground"):
        VoxelPrompt(((1, 2, 3),), (0,))
    with pytest.raises(PromptError, match="1001 points"):
        VoxelPrompt(1001 * ((1, 2, 3),), 1001 * (1,))

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import PromptError
from lib.inference.neighbour import has_object, inner_click, prompt_from
from tests.support.discs import disc


def test_the_prompt_is_the_mask_and_a_click_inside_of_it():
    answer = disc(40, 20, 5)
    prompt = prompt_from(answer, height=128, width=64)
    np.testing.assert_array_equal(prompt.mask, answer.logits)
    assert prompt.points == ((40.0, 40.5),)
    assert prompt.labels == (1,)
    assert prompt.box is None


def test_the_click_lies_in_the_largest_part():
    inside = (disc(15, 15, 4).logits[0] > 0) | (disc(45, 45, 9).logits[0] > 0)
    assert inner_click(inside, 64, 64) == (45, 45)


def test_nothing_can_follow_an_empty_answer():
    assert not has_object(disc(0, 0, 0))
    assert has_object(disc(30, 30, 2))
    with pytest.raises(PromptError):
        prompt_from(disc(0, 0, 0), 64, 64)


@given(
    st.integers(0, 63),
    st.integers(0, 63),
    st.integers(1, 40),
    st.integers(1, 700),
    st.integers(1, 700),
)
def test_the_click_lies_on_the_slice(x, y, radius, height, width):
    answer = disc(x, y, radius)
    prompt = prompt_from(answer, height, width)
    prompt.validate_for(height, width)

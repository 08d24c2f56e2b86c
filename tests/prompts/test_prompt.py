"""What a prompt may be, and what is refused with which sentence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import PromptError
from lib.prompts import Prompt
from lib.prompts.prompt import MAX_POINTS


def test_everything_combined() -> None:
    prompt = Prompt(
        points=[[1, 2], (3.5, 4)],
        labels=np.array([1, 0]),
        box=[5, 6, 1, 2],
        mask=np.zeros((64, 64)),
    )
    assert prompt.points == ((1.0, 2.0), (3.5, 4.0))
    assert prompt.labels == (1, 0)
    assert prompt.box == (1.0, 2.0, 5.0, 6.0)
    prompt.validate_for(10, 10)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "no point, no box and no mask"),
        ({"points": ((1, 2),)}, "1 points with 0 labels"),
        ({"points": ((1, 2, 3),), "labels": (1,)}, "3 coordinates"),
        ({"points": ((1, math.nan),), "labels": (1,)}, "nan"),
        ({"points": ((1, math.inf),), "labels": (1,)}, "inf"),
        ({"points": (("1", 2),), "labels": (1,)}, "'1'"),
        ({"points": ((True, 2),), "labels": (1,)}, "True"),
        ({"points": "12", "labels": (1,)}, "str"),
        ({"points": 7, "labels": (1,)}, "int"),
        ({"points": ((1, 2),), "labels": (2,)}, "label 2"),
        ({"points": ((1, 2),), "labels": (True,)}, "label True"),
        ({"points": ((1, 2),), "labels": (1.5,)}, "label 1.5"),
        ({"points": ((1, 2),) * (MAX_POINTS + 1), "labels": (1,) * (MAX_POINTS + 1)}, "1001"),
        ({"box": (1, 2, 3)}, "3 numbers"),
        ({"box": (1, 2, 1, 9)}, "without area"),
        ({"box": (1, 2, None, 9)}, "None"),
        ({"mask": np.zeros(5)}, "(5,)"),
        ({"mask": np.full((64, 64), np.nan)}, "NaN"),
        ({"mask": np.array([["a"]])}, "type"),
    ],
)
def test_malformed_prompts_are_refused(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(PromptError) as caught:
        Prompt(**arguments)
    assert says in caught.value.message
    assert "Allowed" in caught.value.message
    assert "What to do" in caught.value.message
    assert caught.value.status == 422


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_a_point_is_valid_exactly_on_the_image(x: float, y: float) -> None:
    prompt = Prompt(points=((x, y),), labels=(1,))
    inside = -0.5 <= x <= 29.5 and -0.5 <= y <= 19.5
    if inside:
        prompt.validate_for(height=20, width=30)
    else:
        with pytest.raises(PromptError, match="0 <= x <= 29"):
            prompt.validate_for(height=20, width=30)


def test_a_box_may_reach_over_the_edge_but_not_miss_the_image() -> None:
    Prompt(box=(-5, -5, 10, 10)).validate_for(20, 30)
    Prompt(box=(0, 0, 30, 20)).validate_for(20, 30)
    for box in ((-9, 1, -2, 5), (31, 1, 40, 5), (1, 21, 5, 30)):
        with pytest.raises(PromptError, match="meets"):
            Prompt(box=box).validate_for(20, 30)


@pytest.mark.parametrize("shape", [(64, 64), (1, 64, 64), (20, 30)])
def test_mask_shapes(shape: tuple[int, ...]) -> None:
    Prompt(mask=np.zeros(shape)).validate_for(20, 30)
    if shape == (20, 30):
        with pytest.raises(PromptError, match="mask of shape"):
            Prompt(mask=np.zeros(shape)).validate_for(30, 20)

from __future__ import annotations

import pytest

from lib.errors import PromptError, RequestError
from lib.server.requests import ClickRequest
from lib.server.volume_prompt import volume_prompt

SHAPE = (40, 30, 10)


def ask(**params):
    return volume_prompt(ClickRequest.parse(params), SHAPE)


def test_points_are_grouped_by_slice_in_the_order_of_the_clicks():
    target = ask(foreground=[[1, 1, 7], [2, 2, 3], [3, 3, 7]], background=[[4, 4, 5], [5, 5, 7]])
    assert list(target.prompts) == [7, 3, 5]
    assert target.prompts[7].points == ((1, 1), (3, 3), (5, 5))
    assert target.prompts[7].labels == (1, 1, 0)
    assert target.prompts[5].labels == (0,)
    assert (target.first, target.last) == (None, None)


def test_a_roi_alone_is_the_box_of_its_middle_slice():
    target = ask(roi=[30, 10, 8, 20, 2, 7], background=[[4, 4, 2]])
    assert list(target.prompts) == [4, 2]
    assert target.prompts[4].box == (10, 8, 30, 20)
    assert target.prompts[2].box is None
    assert (target.first, target.last) == (2, 7)


def test_a_roi_beside_a_click_limits_the_slices_and_is_no_box():
    target = ask(roi=[10, 30, 8, 20, 2, 70], foreground=[[12, 12, 3]])
    assert list(target.prompts) == [3]
    assert target.prompts[3].box is None
    assert (target.first, target.last) == (2, 9)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "no foreground point and no roi"),
        ({"background": [[1, 1, 1]]}, "no foreground point and no roi"),
        ({"foreground": [[1, 1, 10]]}, "0 <= k <= 9"),
        ({"foreground": [[1, 1, 1]], "background": [[1, 31, 1]]}, "0 <= j <= 29"),
        ({"foreground": [[1, 1, 1]], "roi": [50, 60, 1, 2, 1, 2]}, "roi i 50"),
    ],
)
def test_what_cannot_be_meant(params, words):
    with pytest.raises(PromptError, match=words):
        ask(**params)


def test_how_far_it_may_go():
    click = ClickRequest.parse({"time_budget": "2.5", "threshold": 0, "max_slices": 7.0})
    assert (click.time_budget, click.threshold, click.max_slices) == (2.5, 0, 7)
    nothing = ClickRequest.parse({"time_budget": None})
    assert (nothing.time_budget, nothing.threshold, nothing.max_slices) == (None, None, None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("time_budget", 0),
        ("time_budget", -1),
        ("time_budget", 1e9),
        ("time_budget", "soon"),
        ("time_budget", "nan"),
        ("time_budget", True),
        ("threshold", 1.1),
        ("threshold", [0.2]),
        ("max_slices", 0),
        ("max_slices", {}),
        ("client_id", 3),
    ],
)
def test_what_is_no_such_number(key, value):
    with pytest.raises(RequestError, match=key):
        ClickRequest.parse({key: value})

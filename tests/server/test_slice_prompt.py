import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import PromptError
from lib.imaging.volume import Volume
from lib.server.requests import ClickRequest
from lib.server.slice_prompt import pixel_of, slice_prompt

SHAPE = (40, 30, 10)


def ask(**params):
    return slice_prompt(ClickRequest.parse(params), SHAPE)


@given(st.integers(0, 39), st.integers(0, 29), st.integers(0, 9))
def test_the_pixel_of_a_voxel_shows_that_voxel(i, j, k):
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    x, y = pixel_of(i, j)
    assert Volume(array, np.eye(4)).slice(k)[int(y), int(x)] == array[i, j, k]


def test_a_click():
    target = ask(foreground=[[12, 5, 3]], background=[[1, 2, 3]])
    assert target.k == 3
    assert target.prompt.points == ((12.0, 5.0), (1.0, 2.0))
    assert target.prompt.labels == (1, 0)
    assert target.prompt.box is None


def test_the_last_foreground_point_chooses_the_slice():
    target = ask(foreground=[[1, 1, 2], [2, 2, 7]], background=[[3, 3, 8], [4, 4, 7]])
    assert target.k == 7
    assert target.prompt.points == ((2.0, 2.0), (4.0, 4.0))


def test_without_foreground_the_last_background_point_chooses():
    target = ask(background=[[3, 3, 8], [4, 4, 1]])
    assert target.k == 1
    assert target.prompt.labels == (0,)


def test_a_named_slice_wins_and_points_elsewhere_are_left_out():
    # Slicer on slice 0 sends the points of all slices.
    target = ask(slice=0, foreground=[[1, 1, 0], [2, 2, 7]], background=[[3, 3, 7]])
    assert target.k == 0
    assert target.prompt.points == ((1.0, 1.0),)


def test_a_roi_with_reversed_corners():
    target = ask(slice=4, roi=[30, 10, 25, 5, 6, 2], foreground=[], background=[])
    assert target.k == 4
    assert target.prompt.box == (10.0, 5.0, 30.0, 25.0)
    assert target.prompt.points == ()


@pytest.mark.parametrize("named", [0, 9, 140, -3, None])
def test_a_roi_without_click_takes_its_own_middle_where_the_named_slice_misses_it(named):
    assert ask(slice=named, roi=[10, 30, 5, 25, 2, 6]).k == 4


def test_roi_and_click_together():
    target = ask(slice=4, roi=[10, 30, 5, 25, 2, 6], foreground=[[20, 15, 4]])
    assert target.prompt.points == ((20.0, 15.0),)
    assert target.prompt.box == (10.0, 5.0, 30.0, 25.0)


def test_a_roi_does_not_count_on_slices_it_does_not_span():
    assert ask(roi=[10, 30, 5, 25, 2, 6], foreground=[[20, 15, 9]]).prompt.box is None


def test_a_roi_that_reaches_beyond_the_image_is_cut():
    target = ask(roi=[-5, 100, -1, 12, -4, 3])
    assert target.prompt.box == (0.0, 0.0, 39.0, 12.0)
    assert target.k == 1


@pytest.mark.parametrize(
    "point", [[40, 0, 0], [0, 30, 0], [0, 0, 10], [-1, 0, 0], [0, -1, 0], [0, 0, -1]]
)
@pytest.mark.parametrize("key", ["foreground", "background"])
def test_points_outside_name_the_ranges(key, point):
    with pytest.raises(PromptError, match="0 <= i <= 39, 0 <= j <= 29, 0 <= k <= 9"):
        ask(**{key: [point]})


@pytest.mark.parametrize("k", [-1, 10, 1000])
def test_a_slice_outside_names_the_range(k):
    with pytest.raises(PromptError, match="0 <= slice <= 9"):
        ask(slice=k, foreground=[[1, 1, 3]])


def test_a_slice_without_a_point_names_the_slices_that_have_one():
    with pytest.raises(PromptError, match="slice 5 with no point on it; the points are on 3, 4"):
        ask(slice=5, foreground=[[1, 1, 4], [1, 1, 3]])


@pytest.mark.parametrize("params", [{}, {"foreground": [], "background": []}, {"slice": 3}])
def test_nothing_to_go_by(params):
    with pytest.raises(PromptError, match="click on the object"):
        ask(**params)


@pytest.mark.parametrize("roi", [[50, 60, 0, 5, 0, 5], [0, 5, -9, -2, 0, 5], [0, 5, 0, 5, 10, 12]])
def test_a_roi_that_misses_the_image(roi):
    with pytest.raises(PromptError, match="a box that meets"):
        ask(roi=roi)


def test_a_roi_without_area():
    with pytest.raises(PromptError, match="without area"):
        ask(roi=[5, 5, 2, 9, 0, 5])

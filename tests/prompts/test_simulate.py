"""The simulated user: SAM-Med2D's rule against its golden numbers, ours against its promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lib.errors import PromptError
from lib.prompts import simulate
from lib.prompts.components import bounding_box, component_areas, component_boxes, largest_component
from lib.prompts.simulate import NO_CLICK, Click, LegacyRandom

GOLDEN = Path(__file__).parents[1] / "golden" / "samed2d_prompts.npz"
MASKS = tuple(f"mask{i}" for i in range(6))

shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)
masks = hnp.arrays(np.bool_, shapes)
filled_masks = masks.filter(lambda mask: bool(mask.any()))
seeds = st.integers(0, 2**32 - 1)

# No deadline: a busy machine must not fail a test.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return {key: file[key] for key in file.files}


def two_squares() -> np.ndarray:
    """A 9 x 9 square with its centre at (10, 20) and a 3 x 3 one with its centre at (40, 5)."""
    mask = np.zeros((50, 60), dtype=bool)
    mask[16:25, 6:15] = True
    mask[4:7, 39:42] = True
    return mask


# --- the published rule: exact ------------------------------------------------------------------


@pytest.mark.parametrize("name", MASKS)
def test_published_boxes_match_golden(golden: dict[str, np.ndarray], name: str) -> None:
    mask = golden[name]
    np.testing.assert_array_equal(
        simulate.published_boxes(mask), golden[f"{name}.box_nojitter"], strict=True
    )
    for count in (2, 3):
        expected = golden[f"{name}.box_num{count}.nojitter"]
        np.testing.assert_array_equal(simulate.published_boxes(mask, count), expected, strict=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", MASKS)
def test_published_shift_matches_golden(
    golden: dict[str, np.ndarray], name: str, seed: int
) -> None:
    boxes = simulate.published_boxes(golden[name])
    shifted = simulate.published_shift(boxes, LegacyRandom(seed))
    np.testing.assert_array_equal(shifted, golden[f"{name}.box_jitter.seed{seed}"], strict=True)


def check_first_points(golden: dict[str, np.ndarray], mask: np.ndarray, key: str, n: int) -> None:
    points, labels = simulate.published_first_points(mask, LegacyRandom(10 + n), n)
    np.testing.assert_array_equal(points, golden[f"{key}.coords"], strict=True)
    np.testing.assert_array_equal(labels, golden[f"{key}.labels"])


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("name", MASKS)
def test_published_first_points_match_golden(
    golden: dict[str, np.ndarray], name: str, count: int
) -> None:
    check_first_points(golden, golden[name], f"{name}.points{count}.seed{10 + count}", count)


def test_published_first_point_of_an_empty_mask_matches_golden(
    golden: dict[str, np.ndarray],
) -> None:
    check_first_points(golden, np.zeros((256, 256)), "empty.points1.seed11", 1)


@pytest.mark.parametrize("count", [1, 3, 5, 9])
def test_published_next_points_match_golden(golden: dict[str, np.ndarray], count: int) -> None:
    random = LegacyRandom(40 + count)
    predicted, target = golden["next.masks"][:, 0] > 0, golden["next.gt"][:, 0]
    rows = [
        simulate.published_next_points(*pair, random, count)
        for pair in zip(predicted, target, strict=True)
    ]
    key = f"next{count}.seed{40 + count}"
    np.testing.assert_array_equal(np.stack([points for points, _ in rows]), golden[f"{key}.coords"])
    np.testing.assert_array_equal(np.stack([labels for _, labels in rows]), golden[f"{key}.labels"])


def test_published_mask_prompt_matches_golden(golden: dict[str, np.ndarray]) -> None:
    prompt = simulate.published_mask_prompt(golden["next.low_res"])
    assert prompt.dtype == np.float32
    assert np.abs(prompt - golden["next.mask_inputs"]).max() <= 1e-6


# --- the published rule: its words --------------------------------------------------------------


def test_published_box_surrounds_only_the_largest_component() -> None:
    np.testing.assert_array_equal(simulate.published_boxes(two_squares()), [[6, 16, 15, 25]])


@relaxed
@given(seed=seeds, side=st.integers(1, 40))
def test_published_shift_keeps_the_size_and_stays_in_its_range(seed: int, side: int) -> None:
    box = np.array([[100, 100, 100 + side, 150]], dtype=np.float32)
    moved = simulate.published_shift(box, LegacyRandom(seed)) - box
    most = min(5, side // 2)
    assert moved[0, 0] == moved[0, 2]
    assert moved[0, 1] == moved[0, 3]
    assert -most <= moved.min()
    assert moved.max() <= max(most - 1, 0)


def test_published_shift_leaves_its_input_alone_and_zero_pixels_mean_no_shift() -> None:
    box = np.array([[10, 10, 60, 60]], dtype=np.float32)
    assert simulate.published_shift(box, LegacyRandom(0)).tolist() != [[10, 10, 60, 60]]
    assert box.tolist() == [[10, 10, 60, 60]]
    assert simulate.published_shift(box, LegacyRandom(0), max_pixels=0).tolist() == box.tolist()


@relaxed
@given(mask=masks.filter(lambda m: bool(m.any() and not m.all())), seed=seeds)
def test_published_points_lie_where_their_label_says(mask: np.ndarray, seed: int) -> None:
    points, labels = simulate.published_first_points(mask, LegacyRandom(seed), 5)
    x, y = points.astype(int).T
    np.testing.assert_array_equal(mask[y, x], labels == 1)
    assert labels.sum() == 2


def test_published_next_points_without_an_error_are_ignored_ones_inside_the_image() -> None:
    mask = two_squares()
    points, labels = simulate.published_next_points(mask, mask, LegacyRandom(1), 9)
    assert labels.tolist() == [-1] * 9
    assert (points >= 0).all()
    assert (points < 50).all()


# --- components ---------------------------------------------------------------------------------


def test_pixels_that_touch_at_a_corner_are_one_component() -> None:
    _, areas = component_areas(np.eye(4, dtype=bool))
    assert areas.tolist() == [4]


@relaxed
@given(mask=filled_masks)
def test_boxes_are_tight_around_their_components(mask: np.ndarray) -> None:
    labels, areas = component_areas(mask)
    boxes, box_areas = component_boxes(mask)
    np.testing.assert_array_equal(areas, box_areas)
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        component = labels == i + 1
        assert bounding_box(component) == (x0, y0, x1, y1)
        assert component[y0:y1, x0:x1].sum() == component.sum() == areas[i]


@relaxed
@given(mask=masks)
def test_largest_component_is_part_of_the_mask_and_none_is_larger(mask: np.ndarray) -> None:
    component, area = largest_component(mask)
    assert not (component & ~mask).any()
    assert component.sum() == area
    assert area == max(component_areas(mask)[1], default=0)


# --- our rule -----------------------------------------------------------------------------------


def test_interior_click_is_the_centre_of_a_square_and_of_a_square_cut_by_the_edge() -> None:
    assert simulate.interior_click(two_squares()) == Click(10, 20, 1)
    full = np.ones((31, 31), dtype=np.uint8)
    assert simulate.interior_click(full) == Click(15, 15, 1)


def test_interior_click_of_a_long_bar_is_in_its_middle() -> None:
    bar = np.zeros((20, 60), dtype=bool)
    bar[4:9, 10:51] = True
    assert simulate.interior_click(bar, label=0) == Click(30, 6, 0)


@relaxed
@given(mask=filled_masks)
def test_interior_click_is_a_centre_of_the_largest_square_that_fits(mask: np.ndarray) -> None:
    padded = np.pad(mask, 1)
    background = np.argwhere(~padded)

    def depth(row: int, column: int) -> int:
        return int(np.abs(background - (row + 1, column + 1)).max(axis=1).min())

    click = simulate.interior_click(mask)
    assert depth(click.y, click.x) == max(depth(*pixel) for pixel in np.argwhere(mask))


def test_every_value_but_zero_is_foreground() -> None:
    square = two_squares()
    for values in (square * np.uint8(255), square * -2.5, square.astype(np.int16)):
        assert simulate.interior_click(values) == simulate.interior_click(square)


def test_interior_click_of_a_ring_is_on_the_ring() -> None:
    rows, columns = np.mgrid[:64, :64]
    radius = np.hypot(rows - 32, columns - 32)
    ring = (radius < 25) & (radius > 15)
    click = simulate.interior_click(ring)
    assert abs(radius[click.y, click.x] - 20) < 2.5


@relaxed
@given(mask=filled_masks, seed=seeds, near_boundary=st.sampled_from([0.0, 0.3, 1.0]))
def test_clicks_lie_in_the_target(mask: np.ndarray, seed: int, near_boundary: float) -> None:
    innermost = simulate.interior_click(mask)
    assert mask[innermost.y, innermost.x]
    click = simulate.random_click(mask, np.random.default_rng(seed), near_boundary)
    assert mask[click.y, click.x]
    assert click.label == 1


def test_random_clicks_keep_to_the_band_that_was_asked_for() -> None:
    mask = np.zeros((80, 80), dtype=bool)
    mask[10:70, 10:70] = True  # greatest depth 30, so the band is 7 pixels wide

    def depths(near_boundary: float) -> list[int]:
        rng = np.random.default_rng(3)
        clicks = [simulate.random_click(mask, rng, near_boundary) for _ in range(60)]
        return [min(c.x - 9, c.y - 9, 70 - c.x, 70 - c.y) for c in clicks]

    assert max(depths(1.0)) <= 7
    assert min(depths(0.0)) > 7
    mixed = depths(0.5)
    assert min(mixed) <= 7 < max(mixed)


def test_next_click_goes_to_the_centre_of_the_largest_mistake() -> None:
    target, rng = two_squares(), np.random.default_rng(0)
    nothing, everything = np.zeros_like(target), np.ones_like(target)
    assert simulate.next_click(nothing, target, rng) == Click(10, 20, 1)
    assert simulate.next_click(target, nothing, rng) == Click(10, 20, 0)
    assert simulate.next_click(everything, target, rng).label == 0
    only_small = target.copy()
    only_small[10:] = False
    assert simulate.next_click(only_small, target, rng) == Click(10, 20, 1)


def test_missed_and_covered_pixels_side_by_side_are_two_mistakes() -> None:
    target = np.zeros((20, 40), dtype=bool)
    target[5:15, 5:20] = True
    predicted = np.zeros_like(target)
    predicted[5:15, 20:30] = True  # covers 100 pixels beside the 150 that are missed
    click = simulate.next_click(predicted, target, np.random.default_rng(0))
    assert click.label == 1
    assert target[click.y, click.x]


@relaxed
@given(pair=hnp.arrays(np.bool_, (2, 12, 17)), seed=seeds, random_share=st.sampled_from([0.0, 1.0]))
def test_next_click_lies_in_the_largest_error_component_with_its_label(
    pair: np.ndarray, seed: int, random_share: float
) -> None:
    predicted, target = pair
    click = simulate.next_click(predicted, target, np.random.default_rng(seed), random_share)
    missed, missed_area = largest_component(target & ~predicted)
    covered, covered_area = largest_component(predicted & ~target)
    if click == NO_CLICK:
        assert (predicted == target).all()
    elif click.label == 1:
        assert missed[click.y, click.x]
        assert missed_area >= covered_area
    else:
        assert click.label == 0
        assert covered[click.y, click.x]
        assert covered_area > missed_area


def test_nothing_to_correct_is_no_click() -> None:
    rng = np.random.default_rng(0)
    assert simulate.next_click(two_squares(), two_squares(), rng) == NO_CLICK
    empty = np.zeros((8, 8), dtype=bool)
    assert simulate.next_click(empty, empty, rng).label == -1


@relaxed
@given(mask=filled_masks, seed=seeds, sigma=st.floats(0.0, 2.0))
def test_random_box_is_inside_the_image_and_never_inside_out(
    mask: np.ndarray, seed: int, sigma: float
) -> None:
    x0, y0, x1, y1 = simulate.random_box(mask, np.random.default_rng(seed), sigma)
    height, width = mask.shape
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height


@relaxed
@given(mask=filled_masks)
def test_a_box_without_noise_is_the_box_of_the_whole_mask(mask: np.ndarray) -> None:
    box = simulate.random_box(mask, np.random.default_rng(0), sigma=0.0)
    assert box == bounding_box(mask)


def test_the_four_edges_of_a_random_box_move_on_their_own_in_proportion_to_the_sides() -> None:
    mask = np.zeros((400, 400), dtype=bool)
    mask[190:210, 100:300] = True
    rng = np.random.default_rng(5)
    moves = np.array([simulate.random_box(mask, rng, 0.1) for _ in range(400)]) - [
        100,
        190,
        300,
        210,
    ]
    np.testing.assert_allclose(moves.std(axis=0), [20, 2, 20, 2], rtol=0.15)
    correlations = np.corrcoef(moves.T)[~np.eye(4, dtype=bool)]
    assert np.abs(correlations).max() < 0.2


OUR_RANDOM_RULES: dict[str, Callable[[np.random.Generator], object]] = {
    "click": lambda rng: simulate.random_click(two_squares(), rng),
    "next": lambda rng: simulate.next_click(np.zeros((50, 60)), two_squares(), rng, 1.0),
    "box": lambda rng: simulate.random_box(two_squares(), rng),
}


@pytest.mark.parametrize("rule", OUR_RANDOM_RULES.values(), ids=OUR_RANDOM_RULES)
@relaxed
@given(seed=seeds)
def test_the_same_seed_gives_the_same_prompts(
    rule: Callable[[np.random.Generator], object], seed: int
) -> None:
    first, second = (np.random.default_rng(seed) for _ in range(2))
    assert [rule(first) for _ in range(3)] == [rule(second) for _ in range(3)]


# --- refusals -----------------------------------------------------------------------------------

EMPTY = np.zeros((16, 16), dtype=bool)
RULES_THAT_NEED_PIXELS: dict[str, Callable[[np.ndarray], object]] = {
    "interior_click": simulate.interior_click,
    "random_click": lambda mask: simulate.random_click(mask, np.random.default_rng(0)),
    "random_box": lambda mask: simulate.random_box(mask, np.random.default_rng(0)),
    "published_boxes": simulate.published_boxes,
    "published_three": lambda mask: simulate.published_first_points(mask, LegacyRandom(0), 3),
}


@pytest.mark.parametrize("rule", RULES_THAT_NEED_PIXELS.values(), ids=RULES_THAT_NEED_PIXELS)
def test_an_empty_mask_is_refused(rule: Callable[[np.ndarray], object]) -> None:
    with pytest.raises(PromptError, match="at least one"):
        rule(EMPTY)


@pytest.mark.parametrize("rule", RULES_THAT_NEED_PIXELS.values(), ids=RULES_THAT_NEED_PIXELS)
@pytest.mark.parametrize("shape", [(1, 16, 16), (16,), (0, 16)])
def test_a_mask_that_is_not_two_dimensional_is_refused(
    rule: Callable[[np.ndarray], object], shape: tuple[int, ...]
) -> None:
    with pytest.raises(PromptError, match="two-dimensional"):
        rule(np.ones(shape, dtype=bool))


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(PromptError, match="same shape"):
        simulate.next_click(EMPTY, np.zeros((16, 15)), np.random.default_rng(0))
    with pytest.raises(PromptError, match="same shape"):
        simulate.published_next_points(EMPTY, np.zeros((1, 16)), LegacyRandom(0))

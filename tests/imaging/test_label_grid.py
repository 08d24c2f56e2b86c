"""Label maps brought onto the voxels of an image."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lib.imaging.affine import Affine
from lib.imaging.label_grid import nearest_on_grid, reoriented

SHAPE = (7, 6, 5)
ALL_TURNS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def oblique() -> Affine:
    """Turned about two axes, with three different spacings."""
    a, b = 0.4, -0.7
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.8, 0.9, 3.0)
    affine[:3, 3] = (-120.5, 33.25, 7.0)
    return affine


def numbered(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    return np.arange(1, np.prod(shape) + 1, dtype=np.int32).reshape(shape)


def turned(
    labels: np.ndarray, affine: Affine, axes: tuple[int, ...], signs: tuple[int, ...]
) -> tuple[np.ndarray, Affine]:
    """The same voxels in the same places, stored in another order."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, (old, sign) in enumerate(zip(axes, signs, strict=True)):
        matrix[old, new] = sign
        matrix[old, 3] = 0 if sign > 0 else labels.shape[old] - 1
    return labels.transpose(axes)[tuple(slice(None, None, s) for s in signs)], affine @ matrix


@pytest.mark.parametrize(("axes", "signs"), ALL_TURNS)
def test_every_order_of_the_axes_is_undone(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    labels, affine = turned(numbered(), oblique(), axes, signs)
    same = reoriented(labels, affine, oblique(), SHAPE)
    assert same is not None
    np.testing.assert_array_equal(same, numbered())
    np.testing.assert_array_equal(nearest_on_grid(labels, affine, oblique(), SHAPE), numbered())


def moved(affine: Affine, voxels: tuple[float, float, float]) -> Affine:
    result = affine.copy()
    result[:3, 3] += affine[:3, :3] @ np.array(voxels)
    return result


@pytest.mark.parametrize(
    "grid",
    [
        moved(oblique(), (1, 0, 0)),
        moved(oblique(), (0.4, 0, 0)),
        oblique() * np.array([1, 1, 1.1, 1]),
        oblique() @ np.array([[0.9, -0.3, 0, 0], [0.3, 0.9, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        np.diag([1.0, 1, 1, 1]),
        moved(oblique(), (1e9, 0, 0)),
    ],
)
def test_other_voxels_are_not_the_same_grid(grid: Affine) -> None:
    assert reoriented(numbered(), oblique(), grid, SHAPE) is None


def test_other_sizes_are_not_the_same_grid() -> None:
    assert reoriented(numbered(), oblique(), oblique(), (7, 6, 4)) is None
    assert reoriented(numbered(), oblique(), oblique(), (7, 6, 6)) is None


def test_rounded_numbers_are_the_same_grid() -> None:
    rounded = np.round(oblique(), 3)
    np.testing.assert_array_equal(reoriented(numbered(), rounded, oblique(), SHAPE), numbered())


def test_a_part_lands_in_its_place_and_what_is_outside_is_cut() -> None:
    part = numbered()[2:5, 1:4, 3:5]
    found = nearest_on_grid(part, moved(oblique(), (2, 1, 3)), oblique(), SHAPE)
    expected = np.zeros(SHAPE, np.int32)
    expected[2:5, 1:4, 3:5] = part
    np.testing.assert_array_equal(found, expected)
    assert found.flags.f_contiguous
    shifted = nearest_on_grid(numbered(), moved(oblique(), (-2, 0, 1)), oblique(), SHAPE)
    np.testing.assert_array_equal(shifted[:5, :, 1:], numbered()[2:, :, :-1])
    assert not shifted[5:].any()
    assert not shifted[:, :, 0].any()


def test_a_coarser_label_map_is_repeated() -> None:
    coarse = numbered((4, 3, 2))
    affine = oblique() @ np.diag([2.0, 2, 2, 1])
    affine = affine @ np.array([[1, 0, 0, 0.25], [0, 1, 0, 0.25], [0, 0, 1, 0.25], [0, 0, 0, 1]])
    found = nearest_on_grid(coarse, affine, oblique(), (8, 6, 4))
    np.testing.assert_array_equal(found, coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2))


def test_a_turned_ball_keeps_its_place_and_size() -> None:
    places = np.moveaxis(np.indices((41, 41, 41)), 0, -1) - 20
    ball = ((places**2).sum(axis=-1) < 15**2).astype(np.uint8)
    c, s = np.cos(0.5), np.sin(0.5)
    turn = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    centre = np.eye(4)
    centre[:3, 3] = -20
    found = nearest_on_grid(ball, turn @ centre, centre, ball.shape)
    assert (found != ball).mean() < 0.01
    assert abs(int(found.sum()) - int(ball.sum())) < 0.01 * ball.sum()


def test_a_label_map_elsewhere_gives_nothing() -> None:
    for steps in ((100.0, 0, 0), (100.4, 0, 0)):
        grid = moved(oblique(), steps)
        assert not nearest_on_grid(numbered(), oblique(), grid, SHAPE).any()

"""Cubes out of volumes against TorchIO's numbers, and the way back."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from lib.imaging.cube import CubeGrid, cube_grid, standardised
from tests.support import golden

GOLDEN = golden.load("sammed3d_preproc.npz")
SHAPE = GOLDEN["image"].shape


def golden_cube(category: int) -> tuple[CubeGrid, list[int]]:
    """The grid, and the first voxel of the golden cube in it, from its affines."""
    roi, canonical = (GOLDEN[f"cat{category}.{n}_affine"] for n in ("roi", "canonical"))
    start = np.linalg.solve(canonical[:3, :3], roi[:3, 3] - canonical[:3, 3])
    return cube_grid(SHAPE, GOLDEN["affine"], 1.5), np.rint(start).astype(int).tolist()


@pytest.mark.parametrize("category", [1, 2])
def test_cutting_equals_the_original(category: int) -> None:
    grid, start = golden_cube(category)
    assert grid.shape == tuple(GOLDEN[f"cat{category}.canonical_shape"])
    cube = standardised(grid.cut(GOLDEN["image"], start, 64))
    assert golden.relative_error(cube, GOLDEN[f"cat{category}.roi_image"][0, 0]) <= 1e-5
    label = grid.cut(GOLDEN["label"] == category, start, 64, "nearest")
    assert np.array_equal(label, GOLDEN[f"cat{category}.roi_label"][0, 0])


@pytest.mark.parametrize("category", [1, 2])
def test_the_way_back_equals_the_original(category: int) -> None:
    grid, start = golden_cube(category)
    roi = GOLDEN[f"cat{category}.roi_label"][0, 0]
    values, part = grid.cells(start, 1, roi.shape).back(roi, SHAPE, "nearest")
    found = np.zeros(SHAPE, np.uint8)
    found[part] = values
    expected = GOLDEN[f"cat{category}.roundtrip_zyx"].transpose(2, 1, 0)
    # A voxel exactly between two of the cube may take either; the original does not say which.
    places = grid.of_file(np.argwhere(found != expected)) % 1.0
    assert (np.abs(places - 0.5) < 1e-6).any(axis=1).all()
    assert (found != expected).sum() <= {1: 12, 2: 0}[category]


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_every_orientation_shows_the_same_body(axes: tuple[int, int, int]) -> None:
    body = np.random.default_rng(0).random((12, 14, 16)).astype(np.float32)
    expected = cube_grid(body.shape, np.diag([3.0, 3.0, 3.0, 1.0]), 3.0).cut(body, (2, 3, 4), 8)
    assert np.array_equal(expected, body[2:10, 3:11, 4:12])
    for flips in product((1, -1), repeat=3):
        turned = body.transpose(axes)[tuple(slice(None, None, f) for f in flips)]
        affine = np.eye(4)
        affine[:3, :3] = 0
        for file_axis, axis in enumerate(axes):
            affine[axis, file_axis] = 3.0 * flips[file_axis]
        grid = cube_grid(turned.shape, affine, 3.0)
        assert np.array_equal(grid.cut(turned, (2, 3, 4), 8), expected)
        place = np.zeros(turned.shape)
        place[5, 6, 7] = 1
        at = np.rint(grid.of_file([5, 6, 7])).astype(int)
        assert grid.cut(place, at - 1, 3)[1, 1, 1] == 1


def test_there_and_back_again() -> None:
    affine = np.diag([-0.7, 0.8, -2.5, 1.0])
    shape = (40, 36, 12)
    grid = cube_grid(shape, affine, 1.5)
    i, j, k = np.indices(shape)
    ramp = (0.3 * i - 0.2 * j + 0.5 * k).astype(np.float32)
    cells = grid.cells((0, 0, 0), 1, grid.shape)
    cube = grid.cut(ramp, (0, 0, 0), max(grid.shape))
    values, part = cells.back(cube[tuple(slice(n) for n in grid.shape)], shape)
    inner = tuple(slice(3, n - 3) for n in values.shape)
    assert np.abs(values - ramp[part])[inner].max() <= 1e-4
    assert all(p.stop - p.start >= n - 2 for p, n in zip(part, shape, strict=True))


def test_coarse_cells_lie_in_the_middle_of_their_voxels() -> None:
    grid = cube_grid((32, 32, 32), np.diag([1.0, 1.0, 1.0, 1.0]), 1.0)
    coarse = grid.cells((4, 8, 12), 4, (2, 2, 2))
    assert np.allclose(coarse.of_file([5.5, 9.5, 13.5]), 0)
    assert np.allclose(coarse.of_file([9.5, 13.5, 17.5]), 1)
    values, part = coarse.back(np.ones((2, 2, 2)), (32, 32, 32))
    assert part == (slice(4, 12), slice(8, 16), slice(12, 20))
    assert (values == 1).all()


def test_what_lies_outside_is_nothing() -> None:
    grid = cube_grid((10, 10, 1), np.eye(4), 1.0)
    assert grid.shape == (10, 10, 1)
    assert not grid.cut(np.ones((10, 10, 1)), (20, 0, 0), 4).any()
    cube = grid.cut(np.ones((10, 10, 1)), (8, -2, -1), 4)
    assert cube.sum() == 2 * 2 * 1
    values, part = grid.cells((20, 0, 0), 1, (4, 4, 4)).back(np.ones((4, 4, 4)), (10, 10, 1))
    assert values.size == 0 and np.zeros((10, 10, 1))[part].size == 0


@pytest.mark.parametrize("value", [0.0, -5.0, 7.0])
def test_flat_images_have_scores(value: float) -> None:
    assert not standardised(np.full((4, 4, 4), value, np.float32)).any()

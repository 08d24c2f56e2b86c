import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lib.errors import ImageError
from lib.imaging.affine import (
    LPS_TO_RAS,
    check_affine,
    compose_affine,
    spacing_of,
    voxel_to_world,
    world_to_voxel,
)

lengths = st.floats(0.05, 20)
millimetres = st.floats(-500, 500)


@st.composite
def oblique_affines(draw: st.DrawFn) -> np.ndarray:
    angles = [draw(st.floats(-180, 180)) for _ in range(3)]
    direction = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    if draw(st.booleans()):
        direction = direction[:, ::-1]  # left-handed grids exist too
    spacing = [draw(lengths) for _ in range(3)]
    return compose_affine(spacing, [draw(millimetres) for _ in range(3)], direction)


@given(oblique_affines(), st.lists(st.tuples(*[st.floats(-10, 600)] * 3), min_size=1, max_size=5))
def test_voxels_survive_the_way_through_millimetres(affine, voxels):
    voxels = np.array(voxels)
    back = world_to_voxel(affine, voxel_to_world(affine, voxels))
    np.testing.assert_allclose(back, voxels, atol=1e-6)


@given(oblique_affines())
def test_spacing_is_the_step_between_neighbours(affine):
    origin = voxel_to_world(affine, [0, 0, 0])
    steps = [np.linalg.norm(voxel_to_world(affine, step) - origin) for step in np.eye(3)]
    np.testing.assert_allclose(spacing_of(affine), steps, rtol=1e-6)


def test_compose_affine_by_hand():
    direction = [0, 0, 1, 1, 0, 0, 0, 1, 0]  # column 0 is (0, 1, 0): i runs along y
    affine = compose_affine([2, 3, 5], [10, 20, 30], direction)
    np.testing.assert_array_equal(voxel_to_world(affine, [1, 0, 0]), [10, 22, 30])
    np.testing.assert_array_equal(voxel_to_world(affine, [[0, 1, 0], [0, 0, 1]])[0], [10, 20, 33])
    np.testing.assert_array_equal(voxel_to_world(LPS_TO_RAS @ affine, [0, 0, 0]), [-10, -20, 30])


@pytest.mark.parametrize(
    ("affine", "word"),
    [
        (np.eye(3), "shape"),
        (np.diag([1, 1, np.nan, 1]), "NaN"),
        (np.diag([1, np.inf, 1, 1]), "infinite"),
        (np.diag([1, 0, 1, 1]), "span"),
        (np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "span"),
    ],
)
def test_useless_affines_are_refused_by_name(affine, word):
    with pytest.raises(ImageError, match=word) as caught:
        check_affine(affine, "a.nii")
    assert "a.nii" in caught.value.got
    assert caught.value.todo


def test_tiny_voxels_are_not_degenerate():
    micrometre = np.diag([1e-6, 1e-6, 1e-6, 1.0])
    np.testing.assert_array_equal(check_affine(micrometre, "microscopy.nii"), micrometre)

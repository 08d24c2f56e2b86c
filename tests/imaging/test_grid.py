import numpy as np
import pytest

from lib.errors import ImageError, NotFoundError
from lib.imaging.grid import ReadLimits, Volume, finite_floats, reading, spatial_shape


def test_a_slice_is_rows_by_columns():
    array = np.arange(24).reshape(2, 3, 4)
    volume = Volume(array, np.diag([0.5, 2, 3, 1.0]))
    assert (volume.shape, volume.n_slices, volume.spacing) == ((2, 3, 4), 4, (0.5, 2, 3))
    image = volume.slice(1)
    assert image.shape == (3, 2)
    assert image[2, 0] == array[0, 2, 1]  # row j, column i


def test_a_colour_slice_keeps_its_channels_last():
    array = np.arange(18).reshape(2, 3, 1, 3)
    volume = Volume(array, np.eye(4))
    assert volume.is_colour
    assert volume.shape == (2, 3, 1)
    np.testing.assert_array_equal(volume.slice(0)[2, 1], array[1, 2, 0])


@pytest.mark.parametrize("k", [-1, 4])
def test_no_slice_outside_the_volume(k):
    volume = Volume(np.zeros((2, 3, 4)), np.eye(4))
    with pytest.raises(ImageError, match="0 to 3"):
        volume.slice(k)


def test_limits_count_voxels():
    limits = ReadLimits(max_voxels=24)
    limits.check((2, 3, 4), "a.nii")
    with pytest.raises(ImageError, match="2 x 3 x 5 = 30 voxels") as caught:
        limits.check((2, 3, 5), "a.nii")
    assert "max_voxels" in caught.value.allowed
    for empty in ((), (2, 0, 4), (2, -3, 4)):
        with pytest.raises(ImageError, match="voxels"):
            limits.check(empty, "a.nii")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4, 5), (4, 5, 1)),
        ((4, 5, 6), (4, 5, 6)),
        ((4, 5, 6, 1), (4, 5, 6)),
        ((4, 5, 1, 1, 1), (4, 5, 1)),
    ],
)
def test_shapes_that_are_volumes(shape, expected):
    assert spatial_shape(shape, "a.nii") == expected


@pytest.mark.parametrize("shape", [(4,), (4, 5, 6, 2), (4, 5, 6, 1, 3), (4, 5, 1, 2)])
def test_time_series_are_refused_with_their_shape(shape):
    with pytest.raises(ImageError) as caught:
        spatial_shape(shape, "a.nii")
    assert str(shape) in caught.value.got


def test_holes_are_filled_with_the_smallest_value():
    array = np.array([3.0, np.nan, -2.0, np.inf, -np.inf])
    filled, warnings = finite_floats(array, "a.nii")
    np.testing.assert_array_equal(filled, [3, -2, -2, -2, -2])
    assert filled.dtype == np.float32
    assert "3 NaN" in warnings[0]


def test_whole_numbers_and_sound_floats_pass():
    whole = np.array([1, 2], np.int16)
    assert finite_floats(whole, "a") == (whole, ())
    sound, warnings = finite_floats(np.array([0.5, 1e30]), "a")
    assert (sound.dtype, warnings) == (np.float32, ())
    with pytest.raises(ImageError, match="finite"):
        finite_floats(np.array([np.nan]), "a")


def test_foreign_errors_become_ours_without_naming_folders(tmp_path):
    path = tmp_path / "secret" / "a.nii"
    with pytest.raises(ImageError) as caught, reading(path, "NIfTI"):
        raise OSError(f"first line\ncannot open {path}")
    assert caught.value.got == "a.nii, which cannot be read as NIfTI (cannot open a.nii)"
    assert str(tmp_path) not in caught.value.message
    with pytest.raises(NotFoundError), reading(path, "NIfTI"):
        raise NotFoundError("x")

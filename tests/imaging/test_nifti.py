import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from lib.errors import ImageError
from lib.imaging.affine import LPS_TO_RAS, compose_affine
from lib.imaging.grid import ReadLimits
from lib.imaging.nifti import read_nifti, write_nifti

LIMITS = ReadLimits()
VOXELS = np.arange(-12, 12, dtype=np.int16).reshape(2, 3, 4)


def oblique(seed):
    direction = Rotation.random(random_state=seed).as_matrix()
    return compose_affine([0.7, 1.3, 2.5], [10, -20, 30], direction)


def itk_affine(path):
    image = SimpleITK.ReadImage(str(path))
    return LPS_TO_RAS @ compose_affine(image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def save(path, array, affine, **header):
    image = nibabel.Nifti1Image(array, affine)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_the_file_s_own_grid(tmp_path, name, kind):
    affine = oblique(1)
    nibabel.save(kind(VOXELS, affine), tmp_path / "a.nii.gz")
    content = (tmp_path / "a.nii.gz").read_bytes()
    path = tmp_path / name
    path.write_bytes(content if name.lower().endswith("gz") else gzip.decompress(content))
    volume = read_nifti(path, LIMITS)
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, VOXELS)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)
    assert (volume.modality, volume.body_part, volume.warnings) == (None, None, ())


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, ">i2"])
def test_types_are_kept(tmp_path, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    volume = read_nifti(save(tmp_path / "a.nii", array, np.eye(4)), LIMITS)
    assert volume.array.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(volume.array, array)


def test_doubles_become_floats(tmp_path):
    path = save(tmp_path / "a.nii", VOXELS.astype(np.float64), np.eye(4))
    assert read_nifti(path, LIMITS).array.dtype == np.float32


def test_scaling_is_applied(tmp_path):
    path = tmp_path / "a.nii"
    image = nibabel.Nifti1Image(VOXELS, np.eye(4))
    image.header.set_slope_inter(0.5, 100)
    nibabel.save(image, path)
    expected = nibabel.load(path).get_fdata()
    np.testing.assert_allclose(read_nifti(path, LIMITS).array, expected, rtol=1e-6)


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 1), (0, 4), (1, 1), (1, 2), (2, 1), (1, 4)])
def test_of_two_orientations_the_one_that_viewers_show(tmp_path, codes):
    image = nibabel.Nifti1Image(VOXELS, None)
    image.set_qform(oblique(1), code=codes[0])
    image.set_sform(oblique(2), code=codes[1])
    nibabel.save(image, tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii", LIMITS)
    np.testing.assert_allclose(volume.affine, itk_affine(tmp_path / "a.nii"), atol=1e-4)


def test_shear_is_kept_where_nothing_else_is_known(tmp_path):
    sheared = oblique(1) @ np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    image = nibabel.Nifti1Image(VOXELS, None)
    image.set_sform(sheared, code=1)
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii", LIMITS)
    np.testing.assert_allclose(volume.affine, sheared, atol=1e-5)
    # With a qform beside it, viewers take that one.
    image.set_qform(oblique(3), code=1)
    nibabel.save(image, tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii", LIMITS)
    np.testing.assert_allclose(volume.affine, oblique(3), atol=1e-4)


@pytest.mark.parametrize(("unit", "factor"), [("micron", 0.001), ("meter", 1000), ("mm", 1)])
def test_other_units_become_millimetres(tmp_path, unit, factor):
    image = nibabel.Nifti1Image(VOXELS, np.diag([2, 3, 4, 1.0]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    spacing = read_nifti(tmp_path / "a.nii", LIMITS).spacing
    np.testing.assert_allclose(spacing, np.array([2, 3, 4]) * factor, rtol=1e-6)


def test_two_and_four_dimensions(tmp_path):
    flat = read_nifti(save(tmp_path / "a.nii", VOXELS[:, :, 0], np.eye(4)), LIMITS)
    assert flat.shape == (2, 3, 1)
    single = read_nifti(save(tmp_path / "a.nii", VOXELS[..., None], np.eye(4)), LIMITS)
    np.testing.assert_array_equal(single.array, VOXELS)
    series = np.stack([VOXELS] * 5, axis=-1)
    with pytest.raises(ImageError, match=r"\(2, 3, 4, 5\)"):
        read_nifti(save(tmp_path / "a.nii", series, np.eye(4)), LIMITS)


def test_colour(tmp_path):
    pixels = np.zeros((2, 3, 1), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    pixels["G"][1, 2] = 9
    volume = read_nifti(save(tmp_path / "a.nii", pixels, np.eye(4)), LIMITS)
    assert volume.array.shape == (2, 3, 1, 3)
    np.testing.assert_array_equal(volume.slice(0)[2, 1], [0, 9, 0])


def test_holes_are_filled(tmp_path):
    array = VOXELS.astype(np.float32)
    array[0, 0, 0] = np.nan
    volume = read_nifti(save(tmp_path / "a.nii", array, np.eye(4)), LIMITS)
    assert volume.array[0, 0, 0] == -11
    assert volume.warnings


def test_limits_come_before_the_voxels(tmp_path):
    path = save(tmp_path / "a.nii", VOXELS, np.eye(4))
    content = bytearray(path.read_bytes()[:400])  # all voxels cut off
    content[40:56] = np.array([3, 4000, 4000, 4000, 1, 1, 1, 1], np.int16).tobytes()
    path.write_bytes(content)
    with pytest.raises(ImageError, match="64000000000 voxels"):
        read_nifti(path, LIMITS)


def test_damaged_files(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).random((9, 9, 9)), np.eye(4))
    content = path.read_bytes()
    broken = bytearray(content)
    broken[len(content) // 2] ^= 0xFF
    for damaged in (b"", content[:20], content[: len(content) // 2], b"x" * 1000, bytes(broken)):
        path.write_bytes(damaged)
        with pytest.raises(ImageError, match=r"a\.nii\.gz") as caught:
            read_nifti(path, LIMITS)
        assert str(tmp_path) not in caught.value.message


def test_headers_without_sense(tmp_path):
    bad = np.eye(4)
    bad[0, 3] = np.nan
    image = nibabel.Nifti1Image(VOXELS, np.eye(4))
    image.header.set_sform(bad, code=1)
    image.header["qform_code"] = 0
    image.affine[:] = bad
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(ImageError, match="NaN"):
        read_nifti(tmp_path / "a.nii", LIMITS)
    path = save(tmp_path / "c.nii", VOXELS.astype(np.complex64), np.eye(4))
    with pytest.raises(ImageError, match="complex"):
        read_nifti(path, LIMITS)
    nibabel.save(nibabel.MGHImage(VOXELS.astype(np.float32), np.eye(4)), tmp_path / "m.mgh")
    with pytest.raises(ImageError, match=r"m\.mgh, which cannot be read as NIfTI"):
        read_nifti(tmp_path / "m.mgh", LIMITS)


def test_written_files_come_back(tmp_path):
    affine = oblique(5)
    labels = (VOXELS > 3).astype(np.uint8)
    write_nifti(tmp_path / "a.nii.gz", labels, affine)
    volume = read_nifti(tmp_path / "a.nii.gz", LIMITS)
    np.testing.assert_array_equal(volume.array, labels)
    assert volume.array.dtype == np.uint8
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)
    np.testing.assert_allclose(itk_affine(tmp_path / "a.nii.gz"), affine, atol=1e-5)

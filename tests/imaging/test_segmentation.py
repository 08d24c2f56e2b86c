import nibabel
import nrrd
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lib.errors import ImageError
from lib.imaging.affine import compose_affine
from lib.imaging.grid import ReadLimits
from lib.imaging.segmentation import read_label, slice_to_volume, write_label

AFFINE = compose_affine([0.7, 1.3, 2.5], [10, -20, 30], Rotation.random(random_state=4).as_matrix())


def test_a_mask_lies_on_its_slice_alone():
    mask = np.zeros((3, 5), bool)
    mask[2, 1] = True  # row 2, column 1
    labels = slice_to_volume(mask, (5, 3, 4), k=2, value=7)
    assert labels.dtype == np.uint8
    assert labels.shape == (5, 3, 4)
    assert np.argwhere(labels).tolist() == [[1, 2, 2]]
    assert labels[1, 2, 2] == 7
    assert labels.flags.f_contiguous


@pytest.mark.parametrize(
    "change",
    [
        {"mask": np.zeros((5, 3))},
        {"k": 4},
        {"k": -1},
        {"value": 0},
        {"value": 256},
    ],
)
def test_a_mask_that_does_not_fit_is_refused(change):
    arguments = {"mask": np.zeros((3, 5)), "volume_shape": (5, 3, 4), "k": 0} | change
    with pytest.raises(ValueError, match="volume"):
        slice_to_volume(**arguments)


@pytest.mark.parametrize("name", ["a.nrrd", "a.nii", "a.nii.gz", "A.NRRD"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
def test_labels_come_back_with_their_geometry(tmp_path, name, dtype):
    array = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(dtype)
    write_label(tmp_path / name, array, AFFINE)
    labels, affine = read_label(tmp_path / name)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, array)
    np.testing.assert_allclose(affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("value", [256, -1, 0.5])
def test_what_is_no_label_is_neither_written_nor_read(tmp_path, value):
    array = np.full((2, 3, 4), value, np.float32)
    with pytest.raises(ImageError, match="values from"):
        write_label(tmp_path / "a.nrrd", array, AFFINE)
    assert not (tmp_path / "a.nrrd").exists()
    nrrd.write(str(tmp_path / "a.nrrd"), array)
    nibabel.save(nibabel.Nifti1Image(array, AFFINE), tmp_path / "a.nii.gz")
    for name in ("a.nrrd", "a.nii.gz"):
        with pytest.raises(ImageError, match="label map"):
            read_label(tmp_path / name)


def test_other_formats_and_limits(tmp_path):
    labels = np.zeros((2, 3, 4), np.uint8)
    with pytest.raises(ImageError, match=r"\.nrrd, \.nii"):
        write_label(tmp_path / "a.png", labels, AFFINE)
    with pytest.raises(ImageError, match=r"\.nrrd, \.nii"):
        read_label(tmp_path / "a.png")
    write_label(tmp_path / "a.nrrd", labels, AFFINE)
    with pytest.raises(ImageError, match="24 voxels"):
        read_label(tmp_path / "a.nrrd", ReadLimits(max_voxels=23))

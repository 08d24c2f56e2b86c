import nibabel
import nrrd
import numpy as np
import pytest
from PIL import Image

from lib.errors import ImageError, NotFoundError
from lib.imaging.grid import ReadLimits
from lib.imaging.volume import read_volume

VOXELS = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def test_every_format_through_one_door(tmp_path, write_stack):
    affine = np.diag([1, 2, 3, 1.0])
    nibabel.save(nibabel.Nifti1Image(VOXELS, affine), tmp_path / "a.nii")
    nibabel.save(nibabel.Nifti1Image(VOXELS, affine), tmp_path / "a.nii.gz")
    nrrd.write(str(tmp_path / "a.nrrd"), VOXELS)
    Image.fromarray(VOXELS[:, :, 0].astype(np.uint8).T).save(tmp_path / "a.PNG")
    Image.fromarray(VOXELS[:, :, 0].astype(np.uint8).T).save(tmp_path / "a.jpeg")
    for name, shape in {
        "a.nii": (2, 3, 4),
        "a.nii.gz": (2, 3, 4),
        "a.nrrd": (2, 3, 4),
        "a.PNG": (2, 3, 1),
        "a.jpeg": (2, 3, 1),
    }.items():
        volume = read_volume(tmp_path / name)
        assert volume.shape == shape
        assert volume.modality is None
    assert read_volume(write_stack([0, 1, 2])).shape == (4, 3, 3)


@pytest.mark.parametrize("name", ["a.dcm", "a.DCM", "CT.1.3.12.2.1107", "nameless"])
def test_one_dicom_file_whatever_its_name(write_slice, name):
    path = write_slice(name, np.zeros((3, 4), np.uint16))
    assert read_volume(path).modality == "CT"


def test_a_series_can_be_chosen(write_stack, write_slice):
    folder = write_stack([0, 1])
    write_slice("b", np.full((2, 2), 9, np.uint16), SeriesInstanceUID="1.2.99")
    assert read_volume(folder, series_uid="1.2.99").shape == (2, 2, 1)


@pytest.mark.parametrize(("lowest", "modality"), [(-1000, "CT"), (0, None)])
def test_hounsfield_units_mark_the_whole_volume(tmp_path, lowest, modality):
    array = np.full((4, 4, 2), 60, np.int16)
    array[..., 1], array[0, 0, 0] = 300, lowest  # air in slice 0 only
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").modality == modality


def test_limits_reach_every_reader(tmp_path, write_stack):
    nibabel.save(nibabel.Nifti1Image(VOXELS, np.eye(4)), tmp_path / "a.nii")
    nrrd.write(str(tmp_path / "a.nrrd"), VOXELS)
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "a.png")
    sources = [tmp_path / "a.nii", tmp_path / "a.nrrd", tmp_path / "a.png", write_stack([0, 1])]
    for source in sources:
        with pytest.raises(ImageError, match="voxels"):
            read_volume(source, ReadLimits(max_voxels=23))


def test_what_cannot_be_read_says_so(tmp_path):
    with pytest.raises(NotFoundError, match=r"absent\.nii") as caught:
        read_volume(tmp_path / "absent.nii")
    assert caught.value.status == 404
    (tmp_path / "a.mhd").write_text("ObjectType = Image")
    with pytest.raises(ImageError, match="kind is unknown") as caught:
        read_volume(tmp_path / "a.mhd")
    assert ".nrrd" in caught.value.allowed
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="folder empty"):
        read_volume(tmp_path / "empty")
    (tmp_path / "a.dcm").write_bytes(b"no dicom")
    with pytest.raises(ImageError, match=r"a\.dcm"):
        read_volume(tmp_path / "a.dcm")

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from lib.data.volume_cases import CaseFiles, find_cases, objects_of, read_case
from lib.errors import ImageError

SHAPE = (20, 16, 6)


def write(path, array, affine=None):
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def labels():
    array = np.zeros(SHAPE, dtype=np.uint8)
    array[2:12, 3:9, 1:5] = 1
    array[15:18, 3:6, 2:3] = 2
    array[0, 0, :] = 3
    return array


def test_pairs(tmp_path):
    for name in ("b", "a"):
        write(tmp_path / f"{name}_image.nii.gz", np.zeros(SHAPE, dtype=np.int16))
        write(tmp_path / f"{name}_label.nii.gz", labels())
    found = find_cases(tmp_path)
    assert [case.case for case in found] == ["a", "b"]
    assert found[0].image == tmp_path / "a_image.nii.gz"
    assert found[0].names is None


def test_a_table(tmp_path):
    (tmp_path / "cases.csv").write_text(
        "image,label,case,value,name\nx/y.nii.gz,z.nii.gz,,1,liver\nx/y.nii.gz,z.nii.gz,,5,\n"
        "series,z.nii.gz,whole,,\n"
    )
    first, second = find_cases(tmp_path)
    assert first == CaseFiles("whole", tmp_path / "series", tmp_path / "z.nii.gz", None)
    assert (second.case, second.names) == ("y", {1: "liver", 5: "5"})


@pytest.mark.parametrize("text", ["image\na.nii\n", "image,label,value\na.nii,b.nii,one\n"])
def test_a_table_that_cannot_be_used(tmp_path, text):
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(ImageError, match=r"cases\.csv"):
        find_cases(tmp_path)


def test_an_empty_folder(tmp_path):
    with pytest.raises(ImageError, match="no labelled volume"):
        find_cases(tmp_path)


def test_a_label_map_of_another_orientation_is_brought_to_the_image(tmp_path):
    image = write(tmp_path / "image.nii.gz", np.zeros(SHAPE, dtype=np.int16))
    flip = np.diag([1.0, -1, 1, 1])
    flip[1, 3] = SHAPE[1] - 1
    label = write(tmp_path / "label.nii.gz", labels()[:, ::-1], flip)
    _, moved = read_case(CaseFiles("a", image, label))
    np.testing.assert_array_equal(moved, labels())


def test_objects(tmp_path):
    files = CaseFiles("a", tmp_path, tmp_path)
    (found,) = objects_of(files, labels(), min_voxels=20, min_slices=2)
    assert found.name == "1"
    assert found.target.shape == (6, 16, 20)
    np.testing.assert_array_equal(found.target[2], labels()[:, :, 2].T == 1)
    every = objects_of(files, labels(), min_voxels=1, min_slices=1)
    assert [one.name for one in every] == ["1", "2", "3"]
    named = CaseFiles("a", tmp_path, tmp_path, {2: "cyst", 9: "not there"})
    assert [one.name for one in objects_of(named, labels(), 1, 1)] == ["cyst"]

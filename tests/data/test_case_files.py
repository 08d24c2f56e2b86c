"""The layouts of folders that an evaluation reads."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from lib.data.case_files import Case, LeftOut, files_digest, find_case_files
from lib.errors import ImageError


def square(shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    mask = np.zeros((1, *shape), dtype=bool)
    mask[0, 10:20, 10:20] = True
    return mask


def write_npz(folder: Path, name: str) -> None:
    np.savez(folder / f"{name}.npz", image=np.ones((40, 50)), mask=square(), labels=["liver"])


def write_nifti(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 5.0, 1.0])), path)


def write_pair(image: Path, label: Path, lowest: int = 0) -> None:
    labels = np.zeros((30, 25, 6), np.uint8)
    labels[5:15, 6:18, 2:4] = 3
    write_nifti(
        image, np.arange(lowest, lowest + labels.size, dtype=np.int16).reshape(labels.shape)
    )
    write_nifti(label, labels)


def cases(folder: Path) -> list[Case | LeftOut]:
    return [case for file in find_case_files(folder) for case in file.cases()]


def test_npz_with_a_table(tmp_path: Path) -> None:
    write_npz(tmp_path, "b_z01")
    write_npz(tmp_path, "a")
    (tmp_path / "manifest.csv").write_text("case,modality,patient\nb_z01,X-ray,p7\n")
    first, second = cases(tmp_path)
    assert (first.image.name, first.modality, first.image.patient) == ("a", "unknown", "a")
    assert (second.image.name, second.modality, second.image.patient) == ("b_z01", "X-ray", "p7")
    assert second.image.modality is None, "a table's word is not told to the network"


@pytest.mark.parametrize(
    ("image", "label", "case"),
    [
        ("x_image.nii.gz", "x_label.nii.gz", "x"),
        ("x_image.nii", "x_label.nii", "x"),
        ("imagesTr/liver_1.nii.gz", "labelsTr/liver_1.nii.gz", "liver_1"),
        ("imagesTr/liver_1_0000.nii.gz", "labelsTr/liver_1.nii.gz", "liver_1"),
        ("images/s.nii", "labels/s.nii", "s"),
    ],
)
def test_nifti_layouts(tmp_path: Path, image: str, label: str, case: str) -> None:
    write_pair(tmp_path / image, tmp_path / label)
    (file,) = find_case_files(tmp_path)
    assert file.name == image
    first, second = file.cases()
    assert (first.image.name, second.image.name) == (f"{case}_k002", f"{case}_k003")
    assert first.image.labels == ("3",)
    assert (first.modality, first.image.modality) == ("unknown", None)


def test_hidden_files_are_no_labels(tmp_path: Path) -> None:
    write_pair(tmp_path / "imagesTr/a.nii.gz", tmp_path / "labelsTr/a.nii.gz")
    (tmp_path / "labelsTr" / "._a.nii.gz").write_bytes(b"?")
    assert len(find_case_files(tmp_path)) == 1


def test_a_ct_is_known_by_its_values(tmp_path: Path) -> None:
    write_pair(tmp_path / "x_image.nii.gz", tmp_path / "x_label.nii.gz", lowest=-1000)
    assert {(case.modality, case.image.modality) for case in cases(tmp_path)} == {("CT", "CT")}


def test_pictures(tmp_path: Path) -> None:
    name = "ct_00--CAD_PE--001--x_0125"
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.full((40, 50), 9, np.uint8)).save(tmp_path / "images" / f"{name}.png")
    for kind, shape in (("0000_000", (40, 50)), ("0003_000", (50, 40))):
        picture = Image.fromarray(square(shape)[0].astype(np.uint8) * 255)
        picture.save(tmp_path / "masks" / f"{name}--{kind}.png")
    left_out, case = cases(tmp_path)
    assert left_out.name == f"{name}--0003_000.png"
    assert "(50, 40)" in left_out.reason
    assert (case.modality, case.image.patient) == ("ct_00", "CAD_PE--001")
    assert case.image.labels == ("0000",)
    np.testing.assert_array_equal(case.image.masks, square())


def test_what_is_broken_is_left_out_and_the_rest_is_read(tmp_path: Path) -> None:
    write_npz(tmp_path, "good")
    (tmp_path / "broken.npz").write_bytes(b"PK no archive")
    (tmp_path / "x_image.nii.gz").write_bytes(b"?")
    (tmp_path / "x_label.nii.gz").write_bytes(b"?")
    write_pair(tmp_path / "y_image.nii.gz", tmp_path / "y_label.nii.gz")
    write_nifti(tmp_path / "y_label.nii.gz", np.zeros((30, 25, 5), np.uint8))
    (tmp_path / "z_label.nii.gz").write_bytes(b"?")
    found = cases(tmp_path)
    left_out = {item.name for item in found if isinstance(item, LeftOut)}
    assert left_out == {"broken.npz", "x_image.nii.gz", "y_image.nii.gz", "z_image.nii.gz"}
    assert [item.image.name for item in found if isinstance(item, Case)] == ["good"]


def test_nothing_there(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "no"):
        with pytest.raises(ImageError, match="no labelled image"):
            find_case_files(folder)


def test_the_digest_changes_with_the_files(tmp_path: Path) -> None:
    write_npz(tmp_path, "a")
    seen = [files_digest(find_case_files(tmp_path), tmp_path)]
    assert files_digest(find_case_files(tmp_path), tmp_path) == seen[0]
    (tmp_path / "manifest.csv").write_text("case\na\n")
    seen.append(files_digest(find_case_files(tmp_path), tmp_path))
    np.savez(tmp_path / "a.npz", image=np.ones((41, 50)), mask=square((41, 50)))
    seen.append(files_digest(find_case_files(tmp_path), tmp_path))
    write_npz(tmp_path, "b")
    seen.append(files_digest(find_case_files(tmp_path), tmp_path))
    assert len(set(seen)) == len(seen)

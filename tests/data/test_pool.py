"""Reading labelled images from folders, and splitting them by patient."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from lib.data.pool import (
    LabelledImage,
    read_folder,
    read_npz,
    read_pair,
    split_by_patient,
    split_components,
)
from lib.errors import ImageError


def write_npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def square(shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    mask = np.zeros((1, *shape), dtype=bool)
    mask[0, 10:20, 10:20] = True
    return mask


def test_npz(tmp_path: Path) -> None:
    path = write_npz(
        tmp_path / "case_z03.npz", image=np.ones((40, 50)), mask=square(), labels=["liver"]
    )
    case = read_npz(path)
    assert (case.name, case.patient, case.labels) == ("case_z03", "case", ("liver",))
    np.testing.assert_array_equal(case.masks, square())


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"image": np.ones((4, 5))}, "'image' and 'mask'"),
        ({"image": np.ones((4, 5)), "mask": np.ones((1, 5, 4))}, r"\(1, 5, 4\)"),
        ({"image": np.ones((4, 5)), "mask": np.ones((0, 4, 5))}, r"\(0, 4, 5\)"),
    ],
)
def test_wrong_npz_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], says: str) -> None:
    with pytest.raises(ImageError, match=says):
        read_npz(write_npz(tmp_path / "bad.npz", **arrays))


def write_pair(
    folder: Path, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> tuple[Path, Path]:
    labels = np.zeros(shape, dtype=np.uint8)
    labels[5:15, 6:18, 2:4] = 3
    image = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    affine = np.diag([*spacing, 1.0])
    paths = folder / "ct_x_image.nii.gz", folder / "ct_x_label.nii.gz"
    for path, array in zip(paths, (image, labels), strict=True):
        nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return paths


def test_pair_gives_slices_with_labels_in_image_order(tmp_path: Path) -> None:
    paths = write_pair(tmp_path, (30, 25, 6), (1, 1, 5))
    cases = list(read_pair(*paths))
    assert [case.name for case in cases] == ["ct_x_k002", "ct_x_k003"]
    assert cases[0].patient == "x"
    assert cases[0].image.shape == (25, 30)  # rows j, columns i
    rows, columns = np.nonzero(cases[0].masks[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 17, 5, 14)
    assert cases[0].labels == ("3",)


def test_isotropic_pairs_are_sliced_along_all_axes(tmp_path: Path) -> None:
    cases = list(read_pair(*write_pair(tmp_path, (20, 25, 20), (1, 1, 1))))
    assert {case.name[-4] for case in cases} == {"i", "j", "k"}


def test_long_thin_slices_are_dropped(tmp_path: Path) -> None:
    cases = list(read_pair(*write_pair(tmp_path, (30, 25, 6), (1, 1, 1))))
    assert {case.name[-4] for case in cases} == {"k"}


def test_a_label_map_on_another_grid_is_refused(tmp_path: Path) -> None:
    image, label = write_pair(tmp_path, (30, 25, 6), (1, 1, 5))
    nibabel.save(nibabel.Nifti1Image(np.zeros((30, 25, 5), np.uint8), np.eye(4)), label)
    with pytest.raises(ImageError, match=r"\(30, 25, 5\)"):
        list(read_pair(image, label))


def test_components_become_masks_of_their_own() -> None:
    masks = square()
    masks[0, 30:35, 30:40] = True
    masks[0, 39, 49] = True  # one pixel of 2000 is below 0.153 %
    parts, names = split_components(masks, ["kidney"])
    assert names == ("kidney", "kidney")
    assert [int(part.sum()) for part in parts] == [100, 50]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no labelled image"):
        read_folder(tmp_path)


def test_folder_takes_both_kinds(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", image=np.ones((40, 50)), mask=square())
    write_pair(tmp_path, (30, 25, 6), (1, 1, 5))
    assert len(read_folder(tmp_path)) == 3


def test_split_is_by_patient_and_stable() -> None:
    cases = [
        LabelledImage(f"{p}_{k}", f"patient{p}", np.zeros((4, 4)), square((30, 30)), ("a",))
        for p in range(200)
        for k in range(2)
    ]
    training, held_out = split_by_patient(cases, 0.2)
    assert len(training) + len(held_out) == len(cases)
    assert not {c.patient for c in training} & {c.patient for c in held_out}
    assert 0.1 < len(held_out) / len(cases) < 0.3
    again = split_by_patient(list(reversed(cases)), 0.2)[1]
    assert {c.name for c in again} == {c.name for c in held_out}
    assert split_by_patient(cases, 0.0)[1] == []
    assert split_by_patient(cases, 1.0)[0] == []


def test_masks_may_be_taken_as_they_are(tmp_path: Path) -> None:
    masks = np.concatenate([square(), np.zeros_like(square()), square()])
    masks[0, 39, 49] = True
    path = write_npz(
        tmp_path / "case.npz", image=np.ones((40, 50)), mask=masks, labels=["a", "b", "c"]
    )
    case = read_npz(path, whole=True)
    assert case.labels == ("a", "c")
    np.testing.assert_array_equal(case.masks, masks[[0, 2]])
    assert len(read_folder(tmp_path, whole=True)[0].masks) == 2
    assert read_npz(path).masks.sum() < case.masks.sum()


def test_labels_and_masks_must_be_as_many(tmp_path: Path) -> None:
    path = write_npz(
        tmp_path / "bad.npz", image=np.ones((40, 50)), mask=square(), labels=["a", "b"]
    )
    with pytest.raises(ImageError, match="2 labels"):
        read_npz(path)


@pytest.mark.parametrize("content", [b"", b"PK no archive", b"\x93NUMPY"])
def test_a_broken_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(ImageError, match=r"bad\.npz, which cannot be read"):
        read_npz(tmp_path / "bad.npz")


def test_objects_in_an_npz_are_not_unpacked(tmp_path: Path) -> None:
    labels = np.array([{"name": "liver"}], dtype=object)
    path = write_npz(tmp_path / "a.npz", image=np.ones((40, 50)), mask=square(), labels=labels)
    with pytest.raises(ImageError, match="cannot be read"):
        read_npz(path)


def test_a_broken_label_map_is_refused(tmp_path: Path) -> None:
    image, label = write_pair(tmp_path, (30, 25, 6), (1, 1, 5))
    label.write_bytes(label.read_bytes()[:100])
    with pytest.raises(ImageError, match=r"ct_x_label\.nii\.gz, which cannot be read"):
        list(read_pair(image, label))


def test_a_pair_may_have_a_name_of_its_own(tmp_path: Path) -> None:
    cases = list(read_pair(*write_pair(tmp_path, (30, 25, 6), (1, 1, 5)), case="mr_p"))
    assert [(case.name, case.patient) for case in cases] == [("mr_p_k002", "p"), ("mr_p_k003", "p")]

"""Cases of all kinds of files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from lib.data.builder.case_reader import read_case
from lib.data.builder.case_task import CaseTask
from lib.data.builder.description import Source
from lib.data.builder.naming import salted
from lib.errors import ImageError, NotFoundError
from lib.imaging.volume import read_volume
from tests.data.builder.test_rtstruct import write as write_contours
from tests.support.archives import AFFINE, labelled_volume
from tests.support.dicom_files import mr_array, write_mr_series, write_seg

DICOM = Source(
    dataset="d",
    kind="dicom",
    modality="mr_t1",
    classes={"organ": "liver"},
    root="",
    images="{case}",
    labels="{case}.dcm",
    patient="header",
)
VOLUME = replace(DICOM, kind="volume", patient="", classes={"1": "liver", "2": None, "7": None})


def task(source: Source, image: Path, *labels: Path, label: str = "") -> CaseTask:
    files = dict.fromkeys(labels, label)
    return CaseTask(source, {"liver": "0003"}, "case", "case", image, files, "salt" * 4)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    folder = tmp_path / "series"
    folder.mkdir()
    write_mr_series(folder, mr_array())
    return folder


def change(series: Path, **tags: str) -> None:
    for file in series.iterdir():
        data = pydicom.dcmread(file)
        for name, value in tags.items():
            setattr(data, name, value)
        data.save_as(file)


def test_a_series_with_a_seg(tmp_path: Path, series: Path) -> None:
    change(series, PatientID="Miller 4711")
    write_seg(tmp_path / "seg.dcm", series)
    case = read_case(task(DICOM, series, tmp_path / "seg.dcm"))
    assert case.patient == salted("Miller 4711", "salt" * 4)
    (layer,) = case.layers
    assert layer.ids == {1: "0003"} and layer.labels.sum() == 36
    assert layer.labels.shape == case.array.shape and not case.flat


def test_another_case_of_the_same_patient_has_the_same_hash(tmp_path: Path, series: Path) -> None:
    change(series, PatientID="a")
    write_seg(tmp_path / "seg.dcm", series)
    first = task(DICOM, series, tmp_path / "seg.dcm")
    assert read_case(first).patient == read_case(replace(first, name="other")).patient


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"BurnedInAnnotation": "YES"}, "look for names"),
        ({"Modality": "US"}, "look for names"),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, ""),
        ({}, ""),
    ],
)
def test_burned_in_text(tmp_path: Path, series: Path, tags: dict[str, str], expected: str) -> None:
    write_seg(tmp_path / "seg.dcm", series)
    change(series, PatientID="a", **tags)
    warnings = read_case(task(DICOM, series, tmp_path / "seg.dcm")).warnings
    assert any("burned in" in text and expected in text for text in warnings) is bool(expected)


@pytest.mark.parametrize("modality", ["ultrasound_00", "ct_00"])
def test_kinds_with_burned_in_text_are_known_without_a_header(
    tmp_path: Path, modality: str
) -> None:
    image, labels = volume_files(tmp_path)
    np.savez(tmp_path / "a.npz", image=np.eye(9), mask=np.eye(9)[None] > 0, labels=["1"])
    source = replace(VOLUME, modality=modality)
    for found in (
        read_case(task(source, image, labels)),
        read_case(task(replace(source, kind="npz"), tmp_path / "a.npz")),
    ):
        said = [text for text in found.warnings if "burned in" in text]
        assert len(said) == (modality == "ultrasound_00")


def test_a_series_without_a_patient(tmp_path: Path, series: Path) -> None:
    write_seg(tmp_path / "seg.dcm", series)
    change(series, PatientID="")
    with pytest.raises(ImageError, match="PatientID"):
        read_case(task(DICOM, series, tmp_path / "seg.dcm"))


def volume_files(folder: Path) -> tuple[Path, Path]:
    image, labels = labelled_volume(0)
    for name, array in (("i.nii.gz", image), ("l.nii.gz", labels)):
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), folder / name)
    return folder / "i.nii.gz", folder / "l.nii.gz"


def test_labels_whose_axes_run_otherwise_lie_on_the_image(tmp_path: Path) -> None:
    image, labels = volume_files(tmp_path)
    expected = read_case(task(VOLUME, image, labels)).layers[0].labels
    turned = nibabel.as_closest_canonical(nibabel.load(labels))
    nibabel.save(turned, tmp_path / "t.nii.gz")
    found = read_case(task(VOLUME, image, tmp_path / "t.nii.gz")).layers[0].labels
    np.testing.assert_array_equal(found, expected)


def test_nrrd_lies_as_nifti_does(tmp_path: Path) -> None:
    image, labels = volume_files(tmp_path)
    expected = read_case(task(VOLUME, image, labels))
    for path in (image, labels):
        sitk.WriteImage(sitk.ReadImage(path), path.with_name(f"{path.name[0]}.nrrd"))
    found = read_case(task(VOLUME, tmp_path / "i.nrrd", tmp_path / "l.nrrd"))
    np.testing.assert_array_equal(found.array, expected.array)
    np.testing.assert_array_equal(found.layers[0].labels, expected.layers[0].labels)


def test_a_series_with_contours(tmp_path: Path, series: Path) -> None:
    volume = read_volume(series)
    square = [(4.5, 6.5), (20.5, 6.5), (20.5, 30.5), (4.5, 30.5)]
    write_contours(tmp_path / "rt.dcm", volume.affine, {"organ": [(square, 2), (square, 3)]})
    change(series, PatientID="a")
    (layer,) = read_case(task(DICOM, series, tmp_path / "rt.dcm")).layers
    assert layer.ids == {1: "0003"} and (layer.labels == 1).sum() == 2 * 16 * 24


def test_in_the_order_of_the_file(tmp_path: Path) -> None:
    image, labels = volume_files(tmp_path)
    case = read_case(task(replace(VOLUME, orientation="file"), image, labels))
    np.testing.assert_array_equal(case.array, labelled_volume(0)[0])
    np.testing.assert_array_equal(case.layers[0].labels, labelled_volume(0)[1])


def test_one_file_a_class(tmp_path: Path) -> None:
    image, labels = volume_files(tmp_path)
    source = replace(VOLUME, classes={"liver": "liver"})
    (layer,) = read_case(task(source, image, labels, label="liver")).layers
    assert layer.ids == {1: "0003"} and set(np.unique(layer.labels)) == {0, 1}


def test_npz(tmp_path: Path) -> None:
    masks = np.zeros((2, 9, 9), bool)
    masks[0, :5], masks[1, 3:] = True, True
    image = np.random.default_rng(0).integers(0, 256, (9, 9)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", image=image, mask=masks, labels=np.array(["x", "y"]))
    source = replace(VOLUME, kind="npz", classes={"x": "liver", "y": None})
    case = read_case(task(source, tmp_path / "a.npz"))
    assert [layer.ids for layer in case.layers] == [{1: "0003"}, {}] and case.flat


@pytest.mark.parametrize("kind", ["fraction", "negative", "elsewhere", "missing", "none"])
def test_labels_that_cannot_be_used(tmp_path: Path, kind: str) -> None:
    image, labels = volume_files(tmp_path)
    values = labelled_volume(0)[1].astype(np.float32)
    affine = AFFINE.copy()
    if kind == "fraction":
        values[3, 3, 3] = 0.5
    elif kind == "negative":
        values[3, 3, 3] = -1
    elif kind == "elsewhere":
        affine[:3, 3] += 500
    nibabel.save(nibabel.Nifti1Image(values, affine), labels)
    if kind == "missing":
        labels.unlink()
    files = [] if kind == "none" else [labels]
    with pytest.raises((ImageError, NotFoundError)):
        read_case(task(VOLUME, image, *files))


def test_a_file_that_is_no_label(tmp_path: Path, series: Path) -> None:
    with pytest.raises(ImageError, match="RTSTRUCT"):
        read_case(task(DICOM, series, next(series.iterdir())))

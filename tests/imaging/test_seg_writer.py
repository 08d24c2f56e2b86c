"""DICOM SEGs of our writer: read back by us, by dcmqi as a program and by pydicom-seg."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom_seg
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

from lib.errors import ImageError
from lib.imaging.affine import LPS_TO_RAS, Affine, voxel_to_world, world_to_voxel
from lib.imaging.dicom import read_series
from lib.imaging.dicom_seg import SegLabels, merge_segs, read_seg
from lib.imaging.seg_writer import NOTHING_FOUND, SegFacts, SegSegment, write_seg
from lib.server.host import find_dcmqi
from tests.support.dicom_files import mr_array, read_with_simpleitk, write_mr_series
from tests.support.dicom_series import (
    SERIES_SHAPE,
    axial,
    oblique,
    write_multi_frame,
    write_series,
)

CREATED = datetime(2026, 11, 20, 15, 4, 5, 678901)
FACTS = SegFacts("1.2.826.0.1.99.1", "1.2.826.0.1.99.2", CREATED)
SEGMENTS = (
    SegSegment(7, "left kidney", "SEMIAUTOMATIC"),
    SegSegment(2, "liver", "MANUAL"),
    SegSegment(5, "not drawn", "AUTOMATIC"),
)
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Series:
    """Files with the grid that our reader gives them."""

    files: list[Path]
    affine: Affine
    shape: Shape
    part: Path

    def write(self, labels: np.ndarray, segments: Any = SEGMENTS, facts: SegFacts = FACTS) -> Path:
        path = self.part / "seg.dcm"
        write_seg(path, labels, self.affine, segments, self.files, facts)
        return path

    def round_trip(self, labels: np.ndarray, facts: SegFacts = FACTS) -> SegLabels:
        return read_seg(self.write(labels, facts=facts), self.affine, self.shape)

    def dataset(self, labels: np.ndarray, **facts: Any) -> Dataset:
        return pydicom.dcmread(self.write(labels, facts=replace(FACTS, **facts)))


def opened(folder: Path, files: list[Path]) -> Series:
    volume = read_series(folder)
    part = folder.parent / "out"
    part.mkdir()
    return Series(files, volume.affine, volume.shape, part)


def made(folder: Path, affine: Affine, **more: Any) -> Series:
    (folder / "files").mkdir()
    return opened(folder / "files", write_series(folder / "files", affine, **more))


@pytest.fixture
def series(tmp_path: Path) -> Series:
    return made(tmp_path, axial())


@pytest.fixture
def tilted(tmp_path: Path) -> Series:
    (tmp_path / "tilted").mkdir()
    return made(tmp_path / "tilted", oblique())


# --- Label maps


def full(shape: Shape) -> np.ndarray:
    return np.full(shape, 2, np.uint8)


def one_slice(shape: Shape) -> np.ndarray:
    labels = np.zeros(shape, np.uint16)
    labels[3:9, 5:14, 2] = 7
    return labels


def gapped(shape: Shape) -> np.ndarray:
    labels = np.zeros(shape, np.int32)
    labels[1:7, 2:5, 0] = labels[4:, 3:, shape[2] - 2] = 2
    return labels


def several(shape: Shape) -> np.ndarray:
    """Values 2, 7 and 300, in another order along k than by value."""
    labels = np.zeros(shape, np.uint16)
    labels[1:9, 1:11, :2] = 7
    labels[10:16, 3:9, 1:4] = 2
    labels[shape[0] - 4 :, shape[1] - 3 :, shape[2] - 1] = 300
    return labels


def noise(shape: Shape) -> np.ndarray:
    return np.random.default_rng(1).choice([0, 0, 2, 7], shape).astype(np.uint8)


MAPS = [full, one_slice, gapped, several, noise]


def numbered(labels: np.ndarray) -> np.ndarray:
    """Segment numbers in the place of the values: 1, 2, ... in their order."""
    values = np.unique(labels)
    return np.searchsorted(values[values != 0], labels, side="right").astype(np.uint16)


def assert_same(found: SegLabels, labels: np.ndarray) -> None:
    np.testing.assert_array_equal(found.labels, numbered(labels))
    known = {2: "liver", 7: "left kidney", 300: "segment 300"}
    values = [int(value) for value in np.unique(labels) if value]
    assert found.names == {n: known[value] for n, value in enumerate(values, start=1)}
    assert found.warnings == ()
    assert found.reviewed == frozenset()


# --- There and back


@pytest.mark.parametrize("labels", MAPS)
@pytest.mark.parametrize("kind", ["series", "tilted"])
def test_comes_back_voxel_for_voxel(
    kind: str, labels: Callable[[Shape], np.ndarray], request: pytest.FixtureRequest
) -> None:
    made: Series = request.getfixturevalue(kind)
    assert_same(made.round_trip(labels(made.shape)), labels(made.shape))


@pytest.mark.parametrize("turns", [(1, 1, -1), (-1, 1, 1), (-1, -1, -1)])
def test_a_label_map_that_runs_against_the_files(tilted: Series, turns: Shape) -> None:
    flip = np.diag([*map(float, turns), 1.0])
    flip[:3, 3] = [(n - 1) * (turn < 0) for n, turn in zip(tilted.shape, turns, strict=True)]
    turned = replace(tilted, affine=tilted.affine @ flip)
    labels = several(tilted.shape)[:: turns[0], :: turns[1], :: turns[2]]
    facts = replace(FACTS, reviewed=frozenset({0, 5, 4}))
    found = turned.round_trip(labels, facts)
    np.testing.assert_array_equal(found.labels, numbered(labels))
    assert found.reviewed == {0, 5, 4} - set(np.flatnonzero(labels.any(axis=(0, 1))).tolist())
    # In the patient it is the same thing, for readers who count their own way.
    again = read_seg(turned.part / "seg.dcm", tilted.affine, tilted.shape)
    np.testing.assert_array_equal(again.labels, numbered(several(tilted.shape)))


@pytest.mark.parametrize("places", [(0, 1, 2, 4, 5, 6), (0, 1, 2, 3, 4, 7.3)])
def test_slices_that_are_missing_in_the_series(places: tuple[float, ...], tmp_path: Path) -> None:
    made_ = made(tmp_path, oblique(), places=places)
    labels = several(made_.shape)
    assert_same(made_.round_trip(labels), labels)


def affine_of(image: sitk.Image) -> Affine:
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    return np.asarray(LPS_TO_RAS @ lps)


def test_the_grid_of_itk_for_uneven_slices(tmp_path: Path) -> None:
    made_ = made(tmp_path, axial(), places=(0, 1, 2, 4, 5, 6))
    image = read_with_simpleitk(tmp_path / "files")
    assert image.GetSize() == made_.shape
    assert image.GetSpacing()[2] != pytest.approx(2.5)
    labels = several(made_.shape)
    assert_same(replace(made_, affine=affine_of(image)).round_trip(labels), labels)


def test_the_grid_of_itk_for_a_tilted_gantry(tmp_path: Path) -> None:
    sheared = axial()
    sheared[1, 2] = 1.2
    made_ = made(tmp_path, sheared)
    labels = several(made_.shape)
    for affine in (made_.affine, affine_of(read_with_simpleitk(tmp_path / "files"))):
        assert_same(replace(made_, affine=affine).round_trip(labels), labels)
    seg = pydicom.dcmread(made_.part / "seg.dcm")
    last = seg.PerFrameFunctionalGroupsSequence[-1].DerivationImageSequence[0]
    uid = pydicom.dcmread(made_.files[-1]).SOPInstanceUID
    assert last.SourceImageSequence[0].ReferencedSOPInstanceUID == uid


def test_a_single_image_however_thick_its_reader_thinks_it_is(tmp_path: Path) -> None:
    made_ = made(tmp_path, oblique(), shape=(26, 18, 1), SliceThickness=None)
    labels = one_slice((26, 18, 3))[:, :, 2:]
    for thickness in (0.2, 1.0, 40.0):
        thick = made_.affine.copy()
        thick[:3, 2] *= thickness
        assert_same(replace(made_, affine=thick).round_trip(labels), labels)


def test_images_without_a_place_in_space(tmp_path: Path) -> None:
    nowhere = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    nowhere |= {"PixelSpacing": None, "FrameOfReferenceUID": None, "SliceThickness": None}
    made_ = made(tmp_path, axial(), **nowhere, Modality="US")
    labels = several(made_.shape)
    assert_same(made_.round_trip(labels), labels)
    # A reader that knows the spacing from elsewhere has a grid of its own.
    finer = replace(made_, affine=np.diag([-0.3, -0.3, 1.0, 1.0]))
    assert_same(finer.round_trip(labels), labels)
    first, second = (finer.dataset(labels).FrameOfReferenceUID for _ in range(2))
    assert first == second
    assert first.is_valid


def test_a_multi_frame_file(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    write_multi_frame(tmp_path / "files" / "enhanced.dcm", oblique())
    made_ = opened(tmp_path / "files", [tmp_path / "files" / "enhanced.dcm"])
    labels = several(made_.shape)
    assert_same(made_.round_trip(labels), labels)
    seg = pydicom.dcmread(made_.part / "seg.dcm")
    frames = [
        group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        for group in seg.PerFrameFunctionalGroupsSequence
    ]
    # Segments 2, 7 and 300; frames of the file run against the slices.
    assert frames == [6 - k for k in (1, 2, 3, 0, 1, 5)]
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1


@pytest.mark.parametrize("jpeg_2000", [False, True])
def test_compressed_files_that_lie_in_no_order(tmp_path: Path, jpeg_2000: bool) -> None:
    (tmp_path / "files").mkdir()
    write_mr_series(tmp_path / "files", mr_array(), jpeg_2000=jpeg_2000)
    made_ = opened(tmp_path / "files", sorted((tmp_path / "files").iterdir()))
    labels = several(made_.shape)
    assert_same(made_.round_trip(labels), labels)


def test_only_headers_of_the_files_are_read(series: Series) -> None:
    for path in series.files:
        path.write_bytes(path.read_bytes()[:-500])
    labels = several(series.shape)
    assert_same(series.round_trip(labels), labels)


# --- What was looked at


def test_reviewed_slices_without_a_label(series: Series) -> None:
    labels = one_slice(series.shape)
    found = series.round_trip(labels, replace(FACTS, reviewed=frozenset({0, 2, 5})))
    np.testing.assert_array_equal(found.labels, numbered(labels))
    assert found.reviewed == {0, 5}
    assert found.names == {1: "left kidney"}
    assert pydicom.dcmread(series.part / "seg.dcm").NumberOfFrames == 3


@pytest.mark.parametrize("reviewed", [frozenset[int](), frozenset({1, 4})])
@pytest.mark.parametrize("segments", [SEGMENTS, ()])
def test_nothing_found(
    series: Series, segments: tuple[SegSegment, ...], reviewed: frozenset[int]
) -> None:
    labels = np.zeros(series.shape, np.uint8)
    path = series.write(labels, segments, replace(FACTS, reviewed=reviewed))
    found = read_seg(path, series.affine, series.shape)
    assert not found.labels.any()
    assert found.reviewed == (reviewed or frozenset(range(6)))
    assert found.names == {1: "left kidney" if segments else NOTHING_FOUND}


def test_frames_without_a_voxel_say_nothing_in_files_of_others(series: Series) -> None:
    seg = series.dataset(one_slice(series.shape), reviewed=frozenset({0}))
    seg.Manufacturer = "somebody"
    seg.save_as(series.part / "other.dcm")
    found = read_seg(series.part / "other.dcm", series.affine, series.shape)
    assert found.reviewed == frozenset()


def test_reviewed_slices_of_several_files_count_where_none_has_a_voxel(series: Series) -> None:
    one = series.round_trip(one_slice(series.shape), replace(FACTS, reviewed=frozenset({0, 5})))
    empty = np.zeros(series.shape, np.uint8)
    two = series.round_trip(empty, replace(FACTS, reviewed=frozenset({1, 2})))
    merged = merge_segs([one, two])
    assert merged.reviewed == {0, 1, 5}
    np.testing.assert_array_equal(merged.labels, one.labels)


# --- What is written


def test_segments(series: Series) -> None:
    coloured = replace(SEGMENTS[1], colour=(10, 200, 30))
    path = series.write(several(series.shape), [SEGMENTS[0], coloured])
    kidney, liver, unknown = 1, 0, 2
    items = pydicom.dcmread(path).SegmentSequence
    assert [item.SegmentNumber for item in items] == [1, 2, 3]
    assert [item.SegmentLabel for item in items] == ["liver", "left kidney", "segment 300"]
    types = ["MANUAL", "SEMIAUTOMATIC", "SEMIAUTOMATIC"]
    assert [item.SegmentAlgorithmType for item in items] == types
    assert [item.get("SegmentAlgorithmName") for item in items] == [None, "samed2d", "samed2d"]
    kinds = [item.SegmentedPropertyTypeCodeSequence[0] for item in items]
    assert [kind.CodeValue for kind in kinds] == ["10200004", "64033007", "85756007"]
    assert {kind.CodingSchemeDesignator for kind in kinds} == {"SCT"}
    side = kinds[kidney].SegmentedPropertyTypeModifierCodeSequence[0]
    assert side.CodeMeaning == "Left"
    assert "SegmentedPropertyTypeModifierCodeSequence" not in kinds[liver]
    category = items[unknown].SegmentedPropertyCategoryCodeSequence[0]
    assert category.CodeMeaning == "Tissue"


def test_patient_study_and_origin(series: Series) -> None:
    source = pydicom.dcmread(series.files[0])
    seg = series.dataset(one_slice(series.shape), creator="Doe^Jane", model_version="samed2d_t-1")
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate"):
        assert seg[name].value == source[name].value
    for name in ("StudyInstanceUID", "StudyID", "AccessionNumber", "FrameOfReferenceUID"):
        assert seg[name].value == source[name].value
    assert (seg.SeriesInstanceUID, seg.SOPInstanceUID) == (FACTS.series_uid, FACTS.instance_uid)
    assert seg.file_meta.MediaStorageSOPInstanceUID == FACTS.instance_uid
    assert (seg.Manufacturer, seg.DeviceSerialNumber) == ("samed2d", "samed2d")
    assert seg.SoftwareVersions[1] == "samed2d_t-1"
    assert seg.ContentCreatorName == "Doe^Jane"
    assert (seg.ContentDate, seg.ContentTime) == ("20261120", "150405.678901")
    assert (seg.SeriesDate, seg.SeriesTime) == (seg.ContentDate, seg.ContentTime)
    assert seg.Modality == "SEG"


def test_each_frame_says_on_which_file_it_was_drawn(tilted: Series) -> None:
    seg = tilted.dataset(several(tilted.shape))
    files = [pydicom.dcmread(path, stop_before_pixels=True) for path in tilted.files]
    listed = seg.ReferencedSeriesSequence[0]
    assert listed.SeriesInstanceUID == files[0].SeriesInstanceUID
    instances = [item.ReferencedSOPInstanceUID for item in listed.ReferencedInstanceSequence]
    assert instances == [file.SOPInstanceUID for file in files]
    expected = [(1, 1), (1, 2), (1, 3), (2, 0), (2, 1), (3, 5)]
    groups = seg.PerFrameFunctionalGroupsSequence
    assert len(groups) == seg.NumberOfFrames == len(expected)
    for group, (number, k) in zip(groups, expected, strict=True):
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        assert image.ReferencedSOPInstanceUID == files[k].SOPInstanceUID
        assert image.ReferencedSOPClassUID == files[k].SOPClassUID
        assert "ReferencedFrameNumber" not in image
        assert group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
        position = group.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(position, files[k].ImagePositionPatient, atol=1e-7)
        rank = {k: n for n, k in enumerate((0, 1, 2, 3, 5), start=1)}[k]
        assert list(group.FrameContentSequence[0].DimensionIndexValues) == [number, rank]


def test_names_in_any_script(series: Series) -> None:
    for path in series.files:
        data = pydicom.dcmread(path)
        data.SpecificCharacterSet = "ISO_IR 100"
        data.PatientName = "Müller^Zoë"
        data.save_as(path)
    segments = [SegSegment(2, "Läsion 肝臓", "MANUAL")]
    path = series.write(full(series.shape), segments, replace(FACTS, creator="Ångström^Ö"))
    seg = pydicom.dcmread(path)
    assert str(seg.PatientName) == "Müller^Zoë"
    assert str(seg.ContentCreatorName) == "Ångström^Ö"
    assert read_seg(path, series.affine, series.shape).names == {1: "Läsion 肝臓"}


def test_texts_about_the_file_are_cut_to_what_dicom_can_hold(series: Series) -> None:
    seg = series.dataset(
        full(series.shape),
        description="a\\b\n" + "x" * 99,
        creator="CN=Doe\\Jane",
        model_version="v" * 99,
    )
    assert seg.SeriesDescription == "a b " + "x" * 60
    assert seg.ContentCreatorName == "CN Doe Jane"
    assert seg.SoftwareVersions[1] == "v" * 64


def test_files_without_a_patient(tmp_path: Path) -> None:
    nobody = dict.fromkeys(("PatientName", "PatientID", "StudyDate", "AccessionNumber"))
    seg = made(tmp_path, axial(), **nobody, PatientAge="034Y").dataset(full(SERIES_SHAPE))
    for name in nobody:
        assert seg[name].value in (None, "")
    assert seg.PatientAge == "034Y"


def test_lossy_sources_make_a_lossy_segmentation(tmp_path: Path) -> None:
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "12.5"}
    seg = made(tmp_path, axial(), **lossy).dataset(full(SERIES_SHAPE))
    assert (seg.LossyImageCompression, seg.LossyImageCompressionRatio) == ("01", 12.5)


def test_the_same_arguments_give_the_same_bytes(series: Series) -> None:
    first = series.write(several(series.shape)).read_bytes()
    backwards = replace(series, files=series.files[::-1])
    assert backwards.write(several(series.shape), SEGMENTS[::-1]).read_bytes() == first


def test_a_moment_is_one_in_any_time_zone(series: Series) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    elsewhere = moment.astimezone(timezone(timedelta(hours=5)))
    first = series.dataset(full(series.shape), created=moment)
    second = series.dataset(full(series.shape), created=elsewhere)
    local = moment.astimezone().strftime("%Y%m%d%H%M%S")
    for seg in (first, second):
        assert (seg.ContentDate + seg.ContentTime).startswith(local)


def test_a_file_is_whole_or_not_there(series: Series, monkeypatch: pytest.MonkeyPatch) -> None:
    path = series.write(full(series.shape))
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        series.write(several(series.shape))
    assert path.read_bytes() == before
    assert [path.name for path in series.part.iterdir()] == ["seg.dcm"]


# --- Other readers


def dcmqi(path: Path, folder: Path) -> tuple[sitk.Image, list[dict[str, Any]]]:
    """The label map and the segments, as dcmqi's program reads them."""
    find_dcmqi()
    program = shutil.which("segimage2itkimage")
    assert program is not None
    folder.mkdir()
    command = [program, "--inputDICOM", str(path), "--outputDirectory", str(folder)]
    done = subprocess.run(
        [*command, "--outputType", "nrrd", "--mergeSegments"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = folder.glob("*.nrrd")
    (attributes,) = json.loads((folder / "meta.json").read_text())["segmentAttributes"]
    return sitk.ReadImage(str(file)), attributes


def assert_same_in_space(image: sitk.Image, labels: np.ndarray, affine: Affine) -> None:
    """Every labelled voxel lies where it was drawn, and nowhere else is any."""
    values = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    found = np.argwhere(values)
    places = world_to_voxel(affine, voxel_to_world(affine_of(image), found))
    np.testing.assert_allclose(places, np.rint(places), atol=0.01)
    drawn = np.zeros(labels.shape, np.uint16)
    drawn[tuple(np.rint(places).astype(int).T)] = values[tuple(found.T)]
    np.testing.assert_array_equal(drawn, numbered(labels))


@pytest.mark.parametrize("labels", MAPS)
@pytest.mark.parametrize("kind", ["series", "tilted"])
def test_dcmqi_reads_it(
    kind: str,
    labels: Callable[[Shape], np.ndarray],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    made: Series = request.getfixturevalue(kind)
    drawn = labels(made.shape)
    image, attributes = dcmqi(made.write(drawn), tmp_path / "dcmqi")
    assert_same_in_space(image, drawn, made.affine)
    known = {2: "liver", 7: "left kidney", 300: "segment 300"}
    names = [known[int(value)] for value in np.unique(drawn) if value]
    assert [segment["SegmentLabel"] for segment in attributes] == names


def test_colours_come_back_from_dcmqi(series: Series, tmp_path: Path) -> None:
    colours = ((10, 200, 30), (250, 128, 0), (0, 0, 255))
    segments = [
        SegSegment(value, f"part {value}", "MANUAL", colour=colour)
        for value, colour in zip((2, 7, 300), colours, strict=True)
    ]
    _, attributes = dcmqi(series.write(several(series.shape), segments), tmp_path / "dcmqi")
    for segment, colour in zip(attributes, colours, strict=True):
        np.testing.assert_allclose(segment["recommendedDisplayRGBValue"], colour, atol=2)


@pytest.mark.parametrize("labels", MAPS)
def test_pydicom_seg_reads_it(tilted: Series, labels: Callable[[Shape], np.ndarray]) -> None:
    drawn = labels(tilted.shape)
    seg = pydicom.dcmread(tilted.write(drawn))
    result = pydicom_seg.MultiClassReader().read(seg)
    assert_same_in_space(result.image, drawn, tilted.affine)


# --- What is refused


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_label_map_of_another_grid(series: Series, tilted: Series, seed: int) -> None:
    labels = full(series.shape)
    shifted = series.affine.copy()
    shifted[seed, 3] += 1.3
    others = [
        (labels, shifted),
        (labels, tilted.affine),
        (labels[:, :, 1:], series.affine),
        (labels.transpose(1, 0, 2), series.affine),
    ]
    for other, affine in others:
        with pytest.raises(ImageError, match="another grid"):
            write_seg(series.part / "x.dcm", other, affine, SEGMENTS, series.files, FACTS)
    assert not (series.part / "x.dcm").exists()


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.full(SERIES_SHAPE, 65536, np.int32), "65536"),
        (np.full(SERIES_SHAPE, -1, np.int16), "-1"),
        (np.full(SERIES_SHAPE, 1.0), "float64"),
        (np.full(SERIES_SHAPE[:2], 1), "shape"),
    ],
)
def test_values_that_are_no_labels(series: Series, labels: np.ndarray, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        series.write(labels)


def test_the_largest_value(series: Series) -> None:
    labels = np.full(SERIES_SHAPE, 65535, np.uint16)
    found = read_seg(series.write(labels), series.affine, series.shape)
    assert found.names == {1: "segment 65535"}
    assert (found.labels == 1).all()


def test_no_files_or_no_images(series: Series) -> None:
    for files in ([], [series.write(full(series.shape))]):
        with pytest.raises(ImageError, match="without a DICOM image"):
            replace(series, files=files).write(full(series.shape))


def test_files_of_two_series(series: Series, tilted: Series) -> None:
    both = replace(series, files=[*series.files, *tilted.files])
    with pytest.raises(ImageError, match="2 series"):
        both.write(full(series.shape))


def test_files_that_cannot_be_referred_to(series: Series) -> None:
    data = pydicom.dcmread(series.files[2])
    del data.SOPInstanceUID
    data.save_as(series.files[2])
    with pytest.raises(ImageError, match="SOPInstanceUID"):
        series.write(full(series.shape))


def test_two_segments_of_one_value(series: Series) -> None:
    twice = [*SEGMENTS, SegSegment(7, "again", "MANUAL")]
    with pytest.raises(ImageError, match="4 segments for 3"):
        series.write(full(series.shape), twice)


@pytest.mark.parametrize("reviewed", [{-1}, {6}])
def test_reviewed_slices_that_the_image_lacks(series: Series, reviewed: set[int]) -> None:
    with pytest.raises(ImageError, match="0 to 5"):
        series.write(full(series.shape), facts=replace(FACTS, reviewed=frozenset(reviewed)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "n" * 65},
        {"name": "  "},
        {"name": "a\\b"},
        {"name": "a\nb"},
        {"value": 0},
        {"value": 65536},
        {"algorithm": "ROBOT"},
        {"colour": (0, 0, 256)},
    ],
)
def test_segments_that_a_seg_cannot_hold(wrong: dict[str, Any]) -> None:
    assert replace(SEGMENTS[0], name="n" * 64).name == "n" * 64
    with pytest.raises(ImageError, match="a segment with"):
        replace(SEGMENTS[0], **wrong)


@pytest.mark.parametrize("uid", ["", "1.2.x", "1" * 65, "1..2", "1.", "a"])
def test_uids_that_are_none(uid: str) -> None:
    for name in ("series_uid", "instance_uid"):
        with pytest.raises(ImageError, match="UID"):
            replace(FACTS, **{name: uid})


def test_more_frames_than_a_file_can_hold(series: Series, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.imaging.seg_frames._MOST_BYTES", 100)
    with pytest.raises(ImageError, match="at most 100 bytes"):
        series.write(full(series.shape))

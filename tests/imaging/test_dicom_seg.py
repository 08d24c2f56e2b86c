"""DICOM SEGs of the host's two writers, and hand-made ones, read back onto the image's grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from monailabel.datastore.utils.convert import dicom_to_nifti, nifti_to_dicom_seg
from pydicom.dataset import Dataset

from lib.errors import ImageError
from lib.imaging.dicom_seg import SegLabels, merge_segs, read_seg
from lib.imaging.grid import ReadLimits, Volume
from lib.imaging.segmentation import write_label
from lib.imaging.volume import read_volume
from lib.server.host import find_dcmqi
from tests.support.dicom_files import (
    MR_CORNER,
    MR_SHAPE,
    MR_SPACING,
    mr_array,
    write_mr_series,
    write_seg,
)

NAMES = [{"name": "liver"}, {"name": "spleen"}, {"name": "kidney"}]


@dataclass(frozen=True)
class Series:
    """A DICOM series and the volume the server makes of it."""

    folder: Path
    volume: Volume
    part: Path

    def write(self, labels: np.ndarray, use_itk: bool = True) -> Path:
        """A SEG of the host's writer."""
        label = self.part / "label.nii.gz"
        write_label(label, labels, self.volume.affine)
        return Path(nifti_to_dicom_seg(str(self.folder), str(label), NAMES, use_itk=use_itk))

    def read(self, path: Path, limits: ReadLimits | None = None) -> SegLabels:
        return read_seg(path, self.volume.affine, self.volume.shape, limits)


def turn(folder: Path) -> None:
    """Make a series oblique to all three axes of the patient."""
    a, b = 0.35, -0.5
    matrix = np.array(
        [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    ) @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        along = np.reshape(np.array(data.ImageOrientationPatient, float), (2, 3))
        data.ImageOrientationPatient = np.round((along @ matrix.T).ravel(), 8).tolist()
        place = matrix @ np.array(data.ImagePositionPatient, float)
        data.ImagePositionPatient = np.round(place, 5).tolist()
        data.save_as(path)


def make_series(folder: Path, change: Callable[[Path], None] | None = None) -> Series:
    find_dcmqi()
    files, part = folder / "files", folder / "part"
    files.mkdir()
    part.mkdir()
    write_mr_series(files, mr_array())
    if change is not None:
        change(files)
    made = Path(dicom_to_nifti(str(files)))
    image = part / "image.nii.gz"
    image.write_bytes(made.read_bytes())
    made.unlink()
    return Series(files, read_volume(image), part)


@pytest.fixture(scope="module")
def sagittal(tmp_path_factory: pytest.TempPathFactory) -> Series:
    return make_series(tmp_path_factory.mktemp("sagittal"))


@pytest.fixture(scope="module")
def oblique(tmp_path_factory: pytest.TempPathFactory) -> Series:
    return make_series(tmp_path_factory.mktemp("oblique"), turn)


def full() -> np.ndarray:
    return np.ones(MR_SHAPE, np.uint8)


def one_slice() -> np.ndarray:
    labels = np.zeros(MR_SHAPE, np.uint8)
    labels[5:9, 10:31, 2] = 1
    return labels


def gapped() -> np.ndarray:
    """Every second slice; none of the planes between may get anything."""
    labels = np.zeros(MR_SHAPE, np.uint8)
    for k in (1, 3, 5):
        labels[3 + k : 20, 12:20, k] = 1
    return labels


def several() -> np.ndarray:
    labels = np.zeros(MR_SHAPE, np.uint8)
    labels[1:7, 2:30, 0:3] = 1
    labels[10:30, 40:56, 2:7] = 2
    labels[38:, :5, 6] = 3
    return labels


@pytest.mark.parametrize("use_itk", [True, False], ids=["dcmqi", "pydicom-seg"])
@pytest.mark.parametrize("labels", [full, one_slice, gapped, several])
@pytest.mark.parametrize("series", ["sagittal", "oblique"])
def test_what_the_host_writes_comes_back_voxel_for_voxel(
    series: str, labels: Callable[[], np.ndarray], use_itk: bool, request: pytest.FixtureRequest
) -> None:
    made: Series = request.getfixturevalue(series)
    path = made.write(labels(), use_itk)
    found = made.read(path)
    path.unlink()
    np.testing.assert_array_equal(found.labels, labels())
    count = int(labels().max())
    assert found.names == {n: NAMES[n - 1]["name"] for n in range(1, count + 1)}
    assert found.warnings == ()


@pytest.fixture
def seg(sagittal: Series, tmp_path: Path) -> Dataset:
    """A small SEG of three segments to change; dcmqi's."""
    path = sagittal.write(several())
    data = pydicom.dcmread(path)
    path.unlink()
    return data


def read_again(seg: Dataset, series: Series, folder: Path, **more: ReadLimits) -> SegLabels:
    path = folder / "seg.dcm"
    seg.save_as(path)
    return series.read(path, **more)


def move(seg: Dataset, step: np.ndarray, frames: slice = slice(None)) -> None:
    for groups in seg.PerFrameFunctionalGroupsSequence[frames]:
        place = groups.PlanePositionSequence[0]
        place.ImagePositionPatient = (np.array(place.ImagePositionPatient) + step).tolist()


def frame_slice(seg: Dataset, number: int) -> int:
    """Slice k of the image on which a frame lies; the series runs along -x."""
    groups = seg.PerFrameFunctionalGroupsSequence[number]
    x = float(groups.PlanePositionSequence[0].ImagePositionPatient[0])
    return round((MR_CORNER[0] - x) / MR_SPACING[2])


def crop(seg: Dataset, rows: slice, columns: slice) -> None:
    """Keep a part of every frame, as writers do that leave out what is empty."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    along = np.reshape(
        np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float), (2, 3)
    )
    pixels = seg.pixel_array[:, rows, columns]
    seg.PixelData = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    seg.Rows, seg.Columns = pixels.shape[1:]
    move(seg, columns.start * spacing[1] * along[0] + rows.start * spacing[0] * along[1])


def test_frames_cropped_to_the_object(seg: Dataset, sagittal: Series, tmp_path: Path) -> None:
    crop(seg, slice(2, 51), slice(4, 33))
    expected = several()
    expected[:4] = expected[33:] = 0
    expected[:, :2] = expected[:, 51:] = 0
    np.testing.assert_array_equal(read_again(seg, sagittal, tmp_path).labels, expected)


def test_frames_of_different_parts_of_the_image(
    seg: Dataset, sagittal: Series, tmp_path: Path
) -> None:
    crop(seg, slice(2, 51), slice(4, 33))
    move(seg, np.array([0, 3 * MR_SPACING[0], 0]), slice(1, 2))  # three columns, one frame
    expected = several()
    expected[:4] = expected[33:] = 0
    expected[:, :2] = expected[:, 51:] = 0
    k = frame_slice(seg, 1)
    expected[3:, :, k] = expected[:-3, :, k].copy()
    np.testing.assert_array_equal(read_again(seg, sagittal, tmp_path).labels, expected)


def test_a_lone_segment_of_pydicom_seg(sagittal: Series, tmp_path: Path) -> None:
    path = tmp_path / "seg.dcm"
    write_seg(path, sagittal.folder)
    i, j, k = (size // 2 for size in MR_SHAPE)
    expected = np.zeros(MR_SHAPE, np.uint8)
    expected[i - 3 : i + 3, j - 3 : j + 3, k] = 1
    found = sagittal.read(path)
    np.testing.assert_array_equal(found.labels, expected)
    assert found.names == {1: "organ"}


def test_an_image_in_another_order_of_slices(sagittal: Series) -> None:
    """The grid given counts, not the order in which the file stores frames."""
    path = sagittal.write(several())
    flip = np.diag([1.0, 1, -1, 1])
    flip[2, 3] = MR_SHAPE[2] - 1
    found = read_seg(path, sagittal.volume.affine @ flip, MR_SHAPE)
    path.unlink()
    np.testing.assert_array_equal(found.labels, several()[:, :, ::-1])


def test_an_image_twice_as_fine(sagittal: Series) -> None:
    path = sagittal.write(several())
    finer = np.diag([0.5, 0.5, 1, 1])
    finer[:2, 3] = -0.25
    shape = (2 * MR_SHAPE[0], 2 * MR_SHAPE[1], MR_SHAPE[2])
    found = read_seg(path, sagittal.volume.affine @ finer, shape)
    path.unlink()
    np.testing.assert_array_equal(found.labels, several().repeat(2, 0).repeat(2, 1))


def test_the_larger_number_wins_where_segments_overlap(
    seg: Dataset, sagittal: Series, tmp_path: Path
) -> None:
    seg.PixelData = b"\xff" * len(seg.PixelData)
    found = read_again(seg, sagittal, tmp_path)
    planes = {
        k: max(n for n in (1, 2, 3) if (several()[:, :, k] == n).any()) for k in range(MR_SHAPE[2])
    }
    for k, number in planes.items():
        assert (found.labels[:, :, k] == number).all()
    assert "segments overlap" in found.warnings[0]


def as_fractional(seg: Dataset, values: np.ndarray, largest: int = 200) -> Dataset:
    """The same frames with 8 bit values (F, rows, columns)."""
    seg.SegmentationType, seg.MaximumFractionalValue = "FRACTIONAL", largest
    seg.SegmentationFractionalType = "PROBABILITY"
    seg.BitsAllocated = seg.BitsStored = 8
    seg.HighBit = 7
    seg.PixelData = values.astype(np.uint8).tobytes()
    return seg


def test_fractions_count_from_half_on(seg: Dataset, sagittal: Series, tmp_path: Path) -> None:
    inside = seg.pixel_array
    found = read_again(as_fractional(seg, np.where(inside, 100, 99)), sagittal, tmp_path)
    np.testing.assert_array_equal(found.labels, several())


def test_one_frame_only(sagittal: Series, tmp_path: Path) -> None:
    path = sagittal.write(one_slice())
    seg = pydicom.dcmread(path)
    path.unlink()
    assert seg.NumberOfFrames == 1
    # Without a word about the distance of planes the image's own counts.
    del seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    np.testing.assert_array_equal(read_again(seg, sagittal, tmp_path).labels, one_slice())


def test_gaps_without_a_stated_distance(sagittal: Series, tmp_path: Path) -> None:
    path = sagittal.write(gapped())
    seg = pydicom.dcmread(path)
    path.unlink()
    del seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    for groups in seg.PerFrameFunctionalGroupsSequence:
        assert "PixelMeasuresSequence" not in groups
    np.testing.assert_array_equal(read_again(seg, sagittal, tmp_path).labels, gapped())


def test_segments_without_names(seg: Dataset, sagittal: Series, tmp_path: Path) -> None:
    seg.SegmentSequence[0].SegmentLabel = ""
    del seg.SegmentSequence[2].SegmentLabel
    assert read_again(seg, sagittal, tmp_path).names == {2: "spleen"}


def test_without_frames(seg: Dataset, sagittal: Series, tmp_path: Path) -> None:
    seg.NumberOfFrames = 0
    del seg.PerFrameFunctionalGroupsSequence, seg.PixelData
    assert not read_again(seg, sagittal, tmp_path).labels.any()


def drop_frame(seg: Dataset) -> None:
    del seg.PerFrameFunctionalGroupsSequence[0]


def cut_pixels(seg: Dataset) -> None:
    seg.PixelData = seg.PixelData[: len(seg.PixelData) // 2]


def no_positions(seg: Dataset) -> None:
    del seg.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence


def segment_zero(seg: Dataset) -> None:
    groups = seg.PerFrameFunctionalGroupsSequence[0]
    groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 0


def irregular(seg: Dataset) -> None:
    move(seg, np.array([1.3, 0, 0]), slice(1, 2))


def between_pixels(seg: Dataset) -> None:
    move(seg, np.array([0, 0.4, 0]), slice(1, 2))


def elsewhere(seg: Dataset) -> None:
    move(seg, np.array([0, 900.0, 0]))


def far_apart(seg: Dataset) -> None:
    move(seg, np.array([3e9, 0, 0]), slice(0, 1))


def label_map_type(seg: Dataset) -> None:
    seg.SegmentationType = "LABELMAP"


def another_class(seg: Dataset) -> None:
    seg.SOPClassUID = pydicom.uid.CTImageStorage


def zero_orientation(seg: Dataset) -> None:
    plane = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    plane.ImageOrientationPatient = [0] * 6


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (drop_frame, "frames are described"),
        (cut_pixels, "cannot be read as DICOM SEG"),
        (no_positions, "PlanePositionSequence"),
        (segment_zero, "segment number 0"),
        (irregular, "regular stack"),
        (between_pixels, "regular stack"),
        (elsewhere, "beside the image"),
        (far_apart, "voxels"),
        (label_map_type, "LABELMAP"),
        (another_class, "another kind"),
        (zero_orientation, "seg.dcm"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_what_cannot_be_used_is_refused_with_the_reason(
    harm: Callable[[Dataset], None], says: str, seg: Dataset, sagittal: Series, tmp_path: Path
) -> None:
    harm(seg)
    with pytest.raises(ImageError, match=says):
        read_again(seg, sagittal, tmp_path)


def test_limits_are_checked_before_any_pixel_is_read(
    seg: Dataset, sagittal: Series, tmp_path: Path
) -> None:
    seg.Rows = seg.Columns = 60000
    with pytest.raises(ImageError, match="max_voxels"):
        read_again(seg, sagittal, tmp_path)


def test_no_dicom_at_all(sagittal: Series, tmp_path: Path) -> None:
    path = tmp_path / "seg.dcm"
    path.write_bytes(b"nothing")
    with pytest.raises(ImageError, match="DICOM SEG"):
        sagittal.read(path)
    with pytest.raises(ImageError, match="DICOM SEG"):
        sagittal.read(tmp_path / "missing.dcm")


def part(values: list[int], names: dict[int, str]) -> SegLabels:
    return SegLabels(np.array(values, np.uint16).reshape(4, 1, 1), names)


def test_files_of_one_series_are_put_together() -> None:
    one, two = part([1, 1, 0, 0], {1: "a"}), part([0, 1, 2, 0], {1: "b", 2: "c"})
    merged = merge_segs([one, two])
    assert merged.labels.ravel().tolist() == [1, 2, 3, 0]
    assert merged.names == {1: "a", 2: "b", 3: "c"}
    assert merge_segs([one]) is one
    with pytest.raises(ImageError, match="65536"):
        merge_segs([part([65535, 0, 0, 0], {}), one])

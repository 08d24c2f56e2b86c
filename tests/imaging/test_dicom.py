"""Series as vendors, archives and anonymisers leave them."""

import json

import numpy as np
import pytest
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from lib.errors import ImageError, NotFoundError
from lib.imaging.affine import LPS_TO_RAS, compose_affine
from lib.imaging.dicom import read_series
from lib.imaging.grid import ReadLimits

SEG_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"


def read_with_itk(folder):
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = SimpleITK.ReadImage(names)
    affine = compose_affine(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    return SimpleITK.GetArrayFromImage(image).T, LPS_TO_RAS @ affine


def slice_values(volume):
    return volume.array[0, 0].tolist()


@pytest.mark.parametrize(
    ("orientation", "step"),
    [
        ([1, 0, 0, 0, 1, 0], [0, 0, 3]),
        ([1, 0, 0, 0, 1, 0], [0, 0, -3]),
        ([0, 1, 0, 0, 0, -1], [2.5, 0, 0]),
        ([1, 0, 0, 0, 0, -1], [0, -1.25, 0]),
        ([0.8, 0.6, 0, -0.48, 0.64, 0.6], [0.36 * 2, -0.48 * 2, 0.8 * 2]),
        ([-1, 0, 0, 0, 1, 0], [0, 0, 4]),
        # A tilted gantry: slices shifted along the columns.
        ([1, 0, 0, 0, 0.96, 0.28], [0, 0, 3]),
    ],
)
def test_the_grid_is_that_of_itk(write_slice, orientation, step):
    rng = np.random.default_rng(3)
    for n in rng.permutation(5):
        pixels = rng.integers(-500, 500, (6, 9)).astype(np.int16)
        position = [10 + n * step[0], -20 + n * step[1], 30 + n * step[2]]
        path = write_slice(
            f"IM{rng.integers(1e9)}",
            pixels,
            ImageOrientationPatient=orientation,
            ImagePositionPatient=position,
            InstanceNumber=int(n),
            RescaleSlope=2,
            RescaleIntercept=-7,
        )
    volume = read_series(path.parent)
    array, affine = read_with_itk(path.parent)
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-9)
    assert volume.array.flags.f_contiguous
    tilted = orientation[4] == 0.96
    assert any("tilt" in warning for warning in volume.warnings) == tilted


def test_axes_rows_and_columns(write_slice):
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    volume = read_series(write_slice("a", pixels, BodyPartExamined="LIVER"))
    assert volume.shape == (4, 3, 1)
    assert volume.spacing == (0.75, 0.5, 2)  # PixelSpacing is (between rows, between columns)
    np.testing.assert_array_equal(volume.slice(0), pixels)
    assert (volume.modality, volume.body_part, volume.warnings) == ("CT", "LIVER", ())


def test_files_may_be_given_one_by_one(write_stack):
    files = list(write_stack([0, 2, 4]).iterdir())
    assert slice_values(read_series(files[::-1])) == [0, 1, 2]
    assert slice_values(read_series(str(files[1]))) == [int(files[1].name)]


def test_rescale_of_each_slice_counts(write_slice):
    for n, (slope, intercept) in enumerate([(1, 0), (0.5, 10), (0.25, -1)]):
        path = write_slice(
            f"{n}",
            np.full((2, 2), 8, np.uint16),
            ImagePositionPatient=[0, 0, n],
            RescaleSlope=slope,
            RescaleIntercept=intercept,
        )
    volume = read_series(path.parent)
    assert volume.array.dtype == np.float32
    assert slice_values(volume) == [8, 14, 1]


@pytest.mark.parametrize(
    ("bits", "signed", "intercept", "dtype"),
    [
        (8, False, 0, np.uint8),
        (12, False, -1024, np.int16),
        (16, True, 0, np.int16),
        (16, False, 0, np.uint16),
        (16, False, -1024, np.int32),
    ],
)
def test_whole_numbers_stay_whole_and_small(write_slice, bits, signed, intercept, dtype):
    stored = np.dtype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")
    top = 2 ** (bits - signed) - 1
    path = write_slice(
        "a",
        np.full((2, 2), top, stored),
        BitsStored=bits,
        RescaleIntercept=intercept,
        RescaleSlope=1,
    )
    volume = read_series(path)
    assert volume.array.dtype == dtype
    assert volume.array[0, 0, 0] == top + intercept


def test_a_slope_of_zero_is_an_error_of_the_writer(write_slice):
    path = write_slice("a", np.full((2, 2), 5, np.uint16), RescaleSlope=0, RescaleIntercept=0)
    assert slice_values(read_series(path)) == [5]


def test_signed_monochrome1_with_rescale(write_slice):
    pixels = np.array([[-100, 0, 100]], np.int16)
    path = write_slice(
        "a",
        pixels,
        PhotometricInterpretation="MONOCHROME1",
        RescaleSlope=2,
        RescaleIntercept=1,
    )
    np.testing.assert_array_equal(read_series(path).slice(0), [[199, -1, -201]])


def test_missing_geometry_falls_back_step_by_step(write_stack, write_slice):
    folder = write_stack([0, 0, 0], ImagePositionPatient=None)
    for n, path in enumerate(sorted(folder.iterdir())):
        pixels = np.full((3, 4), n, np.uint16)
        # SliceLocation falls as the instance number rises.
        write_slice(path.name, pixels, ImagePositionPatient=None, SliceLocation=-5 * n)
    volume = read_series(folder)
    assert slice_values(volume) == [2, 1, 0]
    assert volume.spacing[2] == 5

    for n, path in enumerate(sorted(folder.iterdir())):
        write_slice(
            path.name,
            np.full((3, 4), n, np.uint16),
            ImagePositionPatient=None,
            ImageOrientationPatient=None,
            PixelSpacing="",
            SliceThickness=None,
            InstanceNumber=10 - n,
        )
    volume = read_series(folder)
    assert slice_values(volume) == [2, 1, 0]
    np.testing.assert_array_equal(volume.affine, np.diag([-1, -1, 1, 1]))
    text = " ".join(volume.warnings)
    for word in ("ImageOrientationPatient", "PixelSpacing", "InstanceNumber", "1 mm"):
        assert word in text


def test_thickness_and_imager_spacing_stand_in(write_slice):
    path = write_slice(
        "a",
        np.zeros((2, 2), np.uint16),
        PixelSpacing=None,
        ImagerPixelSpacing=[0.2, 0.1],
        SpacingBetweenSlices=4,
    )
    volume = read_series(path)
    assert volume.spacing == (0.1, 0.2, 4)
    assert volume.warnings == ()


def test_one_position_for_all_is_no_position(write_stack):
    volume = read_series(write_stack([5, 5, 5]))  # a cine loop
    assert slice_values(volume) == [0, 1, 2]
    assert "InstanceNumber" in volume.warnings[0]


def test_repeated_positions_keep_the_first(write_stack):
    volume = read_series(write_stack([0, 2, 4, 0, 2, 4]))  # two phases
    assert slice_values(volume) == [0, 1, 2]
    assert volume.spacing[2] == 2
    assert "left out 3 of 6" in volume.warnings[0]


def test_a_missing_slice_leaves_a_gap_with_the_median_spacing(write_stack):
    volume = read_series(write_stack([0, 2, 4, 8, 10]))
    assert volume.n_slices == 5
    assert volume.spacing[2] == 2
    assert "uneven" in volume.warnings[0]


def test_rounded_positions_are_even(write_stack):
    volume = read_series(write_stack([0, 1.67, 3.33, 5.0]))
    assert volume.spacing[2] == pytest.approx(5 / 3)
    assert volume.warnings == ()


@pytest.mark.parametrize(
    "odd",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
        {"PixelSpacing": [3, 3]},
        {"shape": (5, 5)},
    ],
)
def test_an_image_that_does_not_fit_is_left_out(write_stack, write_slice, odd):
    folder = write_stack([0, 2, 4])
    shape = odd.pop("shape", (3, 4))
    position = {"ImagePositionPatient": [0, 0, 2]}
    write_slice("odd", np.full(shape, 99, np.uint16), **(position | odd))
    volume = read_series(folder)
    assert slice_values(volume) == [0, 1, 2]
    assert "left out 1" in volume.warnings[0]


def test_a_lone_localizer_is_an_image(write_slice):
    path = write_slice("a", np.full((2, 2), 7, np.uint16), ImageType=["ORIGINAL", "LOCALIZER"])
    assert slice_values(read_series(path)) == [7]


def test_copies_and_shared_uids(write_stack):
    folder = write_stack([0, 2, 4], SOPInstanceUID="1.2.3")  # anonymised to one UID
    (folder / "copy of 001").write_bytes((folder / "001").read_bytes())
    volume = read_series(folder)
    assert slice_values(volume) == [0, 1, 2]
    assert "copy" in volume.warnings[0]


def test_other_objects_and_other_files_are_skipped(write_stack, write_slice):
    folder = write_stack([0, 2])
    (folder / "notes.json").write_text(json.dumps({"a": 1}))
    (folder / "empty").write_bytes(b"")
    (folder / "DICOMDIR").write_bytes((folder / "000").read_bytes())
    (folder / "sub").mkdir()
    write_slice("seg", np.ones((3, 4), np.uint8), SOPClassUID=SEG_STORAGE, SeriesInstanceUID="1.9")
    write_slice(
        "rt", np.ones((3, 4), np.uint8), Rows=None, Modality="RTSTRUCT", SeriesInstanceUID="1.8"
    )
    volume = read_series(folder)
    assert slice_values(volume) == [0, 1]
    text = " ".join(volume.warnings)
    for word in ("SEG", "RTSTRUCT", "DICOMDIR", "2 file(s): not a DICOM file"):
        assert word in text


def test_two_series_are_listed_and_one_can_be_chosen(write_stack, write_slice):
    folder = write_stack([0, 2])
    write_slice("b", np.full((2, 2), 9, np.uint16), SeriesInstanceUID="1.2.99")
    with pytest.raises(ImageError, match="2 series") as caught:
        read_series(folder)
    series = "1.2.826.0.1.3680043.8.498.1"
    assert f"{series} (2 images)" in caught.value.got
    assert "1.2.99 (1 images)" in caught.value.got
    assert slice_values(read_series(folder, series_uid="1.2.99")) == [9]
    with pytest.raises(ImageError, match=r"1\.2\.100"):
        read_series(folder, series_uid="1.2.100")


def test_limits_are_checked_before_any_pixel_is_decoded(write_stack, monkeypatch):
    monkeypatch.setattr("lib.imaging.dicom.decode_frames", lambda path: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="36 voxels") as caught:
        read_series(write_stack([0, 1, 2]), ReadLimits(max_voxels=35))
    assert "35" in caught.value.allowed


def test_a_header_may_not_promise_endless_frames(write_slice):
    path = write_slice("a", np.zeros((2, 2), np.uint8), NumberOfFrames=2**31 - 1)
    with pytest.raises(ImageError, match="voxels"):
        read_series(path)


def test_nothing_to_read(tmp_path, write_slice):
    with pytest.raises(NotFoundError, match="absent"):
        read_series(tmp_path / "absent")
    with pytest.raises(NotFoundError, match="absent"):
        read_series([tmp_path / "absent"])
    with pytest.raises(ImageError, match="without a DICOM image"):
        read_series(tmp_path / "series")
    with pytest.raises(ImageError, match="without a DICOM image"):
        read_series([])
    with pytest.raises(ImageError, match="SEG"):
        read_series(write_slice("s.dcm", np.ones((3, 4), np.uint8), SOPClassUID=SEG_STORAGE))


@pytest.mark.parametrize("name", ["DICOMDIR", "dicomdir.dcm", "innocent.dcm"])
def test_a_dicomdir_is_never_opened(tmp_path, name, build_dataset):
    dataset = build_dataset(np.zeros((2, 2), np.uint8), SOPClassUID="1.2.840.10008.1.3.10")
    dataset.save_as(tmp_path / name, write_like_original=False)
    with pytest.raises(ImageError, match="DICOMDIR") as caught:
        read_series(tmp_path / name)
    assert "folder" in caught.value.todo


@pytest.mark.parametrize("keep", [0.3, 0.99])
def test_a_truncated_slice_is_named(write_stack, keep):
    folder = write_stack([0, 2, 4], Rows=3)
    path = folder / "001"
    content = path.read_bytes()
    if keep < 0.5:
        path.write_bytes(content[: int(len(content) * keep)])
        volume = read_series(folder)  # its header is gone: it cannot belong to the series
        assert slice_values(volume) == [0, 2]
        assert volume.warnings
    else:
        path.write_bytes(content[:-5])
        with pytest.raises(ImageError, match="001"):
            read_series(folder)


def test_a_bare_data_set_of_an_old_archive(tmp_path, build_dataset):
    dataset = build_dataset(np.arange(6, dtype=np.uint16).reshape(2, 3))
    dataset.is_implicit_VR = True
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.preamble = None
    del dataset.file_meta
    dataset.save_as(tmp_path / "old", write_like_original=True)
    np.testing.assert_array_equal(read_series(tmp_path / "old").slice(0), [[0, 1, 2], [3, 4, 5]])


def multiframe(build_dataset, n_frames, descending):
    """Enhanced CT: geometry and rescale in functional groups, frames stored top down."""
    per_frame = []
    for n in range(n_frames):
        group, position, rescale = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [1, 2, (n_frames - n if descending else n) * 1.5]
        rescale.RescaleSlope, rescale.RescaleIntercept = 1, 100 * n
        group.PlanePositionSequence = Sequence([position])
        group.PixelValueTransformationSequence = Sequence([rescale])
        per_frame.append(group)
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.25], 3
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    pixels = np.arange(n_frames * 8, dtype=np.uint16).reshape(n_frames, 2, 4)
    return build_dataset(
        pixels,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1",
        NumberOfFrames=n_frames,
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(per_frame),
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        PixelSpacing=None,
        SliceThickness=None,
    )


@pytest.mark.parametrize("descending", [True, False])
def test_an_enhanced_file_is_a_series_in_one_file(tmp_path, descending, build_dataset):
    multiframe(build_dataset, 4, descending).save_as(tmp_path / "e.dcm", write_like_original=False)
    volume = read_series(tmp_path / "e.dcm")
    assert volume.spacing == (0.25, 0.5, 1.5)
    firsts = [n * 8 + n * 100 for n in range(4)]
    assert slice_values(volume) == (firsts[::-1] if descending else firsts)
    assert volume.warnings == ()


def test_a_loop_without_positions_is_read_frame_by_frame(write_slice):
    pixels = np.arange(32, dtype=np.uint8).reshape(4, 2, 4)
    path = write_slice(
        "us", pixels, NumberOfFrames=4, ImagePositionPatient=None, ImageOrientationPatient=None
    )
    volume = read_series(path)
    np.testing.assert_array_equal(volume.array.T, pixels)
    assert volume.warnings


def test_fewer_frames_than_announced(write_slice):
    path = write_slice("a", np.zeros((2, 3, 4), np.uint8), NumberOfFrames=3)
    with pytest.raises(ImageError, match="a, whose pixels"):
        read_series(path)


def test_nonsense_in_number_fields_counts_as_missing(write_slice):
    path = write_slice("a", np.full((3, 4), 6, np.uint16))
    raw = path.read_bytes()
    assert b"0.5\\0.75" in raw
    path.write_bytes(raw.replace(b"0.5\\0.75", b"0.5\\oops"))
    volume = read_series(path)
    assert slice_values(volume) == [6]
    assert "PixelSpacing" in volume.warnings[0]

"""Contours of an RTSTRUCT as label maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from lib.data.builder.rtstruct import inside_polygon, read_rtstruct
from lib.errors import ImageError
from lib.imaging.affine import LPS_TO_RAS, voxel_to_world
from tests.support.dicom_series import axial, oblique

SHAPE = (20, 16, 5)
SQUARE = [(2, 3), (9, 3), (9, 11), (2, 11)]
HOLE = [(4, 5), (7, 5), (7, 9), (4, 9)]


def write(path: Path, affine: np.ndarray, rois: dict[str, list[tuple[list, float]]]) -> Path:
    """Contours in voxels (points, k) of each structure."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    data.is_little_endian, data.is_implicit_VR = True, False
    data.SOPClassUID, data.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    data.StructureSetROISequence, data.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois.items(), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, drawn.ReferencedROINumber = number, name, number
        drawn.ContourSequence = []
        for points, k in contours:
            contour = Dataset()
            contour.ContourGeometricType = "CLOSED_PLANAR"
            voxels = np.array([(x, y, k) for x, y in points], float)
            world = voxel_to_world(LPS_TO_RAS @ affine, voxels)
            contour.ContourData = [f"{v:.6f}" for v in world.ravel()]
            drawn.ContourSequence.append(contour)
        data.StructureSetROISequence.append(roi)
        data.ROIContourSequence.append(drawn)
    data.save_as(path)
    return path


@pytest.mark.parametrize("affine", [axial(), oblique()])
def test_a_structure_with_a_hole(tmp_path: Path, affine: np.ndarray) -> None:
    square = [(x + 0.4, y + 0.3) for x, y in SQUARE]
    hole = [(x + 0.4, y + 0.3) for x, y in HOLE]
    path = write(tmp_path / "a.dcm", affine, {"liver": [(square, 2), (hole, 2), (square, 3)]})
    ((labels, names),) = read_rtstruct(path, affine, SHAPE)
    expected = np.zeros(SHAPE, np.uint8)
    expected[3:10, 4:12, 2:4] = 1
    expected[5:8, 6:10, 2] = 0
    np.testing.assert_array_equal(labels, expected)
    assert names == {1: "liver"}


def test_structures_that_overlap_come_in_two_maps(tmp_path: Path) -> None:
    rois = {"a": [(SQUARE, 1)], "b": [(HOLE, 1)], "c": [(HOLE, 4)]}
    path = write(tmp_path / "a.dcm", axial(), rois)
    (first, names), (second, others) = read_rtstruct(path, axial(), SHAPE)
    assert names == {1: "a", 2: "c"} and others == {1: "b"}
    assert (second != 0).sum() == (first == 2).sum() == 12


def test_polygons_against_another_library() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:30, :40]
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        radii = rng.uniform(3, 22, 12)
        points = np.stack([20 + radii * np.cos(angles), 14 + radii * np.sin(angles)], axis=1)
        expected = Outline(points).contains_points(centres).reshape(30, 40)
        np.testing.assert_array_equal(inside_polygon(points, (30, 40)), expected)


@pytest.mark.parametrize("k", [1.7, 90])
def test_contours_in_no_slice(tmp_path: Path, k: float) -> None:
    tilted = write(tmp_path / "a.dcm", axial(), {"a": [(SQUARE, k)]})
    if k == 90:
        with pytest.raises(ImageError, match="beside"):
            list(read_rtstruct(tilted, axial(), SHAPE))
    else:
        ((labels, _),) = read_rtstruct(tilted, axial(), SHAPE)
        assert np.flatnonzero(labels.any(axis=(0, 1))).tolist() == [2]


def test_contours_across_slices(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", axial(), {"a": [(SQUARE, 1)]})
    with pytest.raises(ImageError, match="across"):
        list(read_rtstruct(path, oblique(), SHAPE))


def test_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM rubbish")
    with pytest.raises(ImageError, match=r"a\.dcm"):
        list(read_rtstruct(path, axial(), SHAPE))

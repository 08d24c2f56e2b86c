"""DICOM series with any geometry, made on the spot: oblique, uneven, multi-frame, several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

from lib.imaging.affine import LPS_TO_RAS, Affine

SERIES_SHAPE = (26, 18, 6)
"""(I, J, K): no side is a multiple of 8, so that frames begin within a byte."""


def axial() -> Affine:
    """RAS affine of an axial series, 0.7 x 1.1 x 2.5 mm; rows run to the left, columns back."""
    affine = np.diag([-0.7, -1.1, 2.5, 1.0])
    affine[:3, 3] = (31.25, 44.5, -120.75)
    return affine


def oblique() -> Affine:
    """The axial one, turned by 20 degrees about z and then by -30 about x."""
    a, b = np.deg2rad(20), np.deg2rad(-30)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = axial()
    affine[:3, :3] = about_x @ about_z @ affine[:3, :3]
    return affine


def write_series(
    folder: Path,
    affine: Affine,
    shape: tuple[int, int, int] = SERIES_SHAPE,
    places: Sequence[float] | None = None,
    **tags: Any,
) -> list[Path]:
    """Write one file for each slice, with names and instance numbers against the slices.

    Args:
        folder: an existing one.
        affine: (4, 4) RAS of the stack.
        shape: (I, J, K).
        places: where slice k lies, counted in steps of the affine; 0, 1, 2, ... where None.
        tags: further elements; None leaves one out.

    Returns:
        The files in the order of the slices.
    """
    count = shape[2]
    common = {"SeriesInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid()}
    common |= {"FrameOfReferenceUID": generate_uid(), **tags}
    pixels = np.random.default_rng(5).integers(0, 900, (count, shape[1], shape[0]), np.uint16)
    files = []
    for k, place in enumerate(places if places is not None else range(count)):
        data = _dataset(CTImageStorage, pixels[k])
        orientation, measures, position = _geometry(affine, place)
        for part in (orientation, measures, position):
            data.update(part)
        data.InstanceNumber = count - k
        for name, value in common.items():
            if value is not None:
                setattr(data, name, value)
            elif name in data:
                delattr(data, name)
        path = folder / f"{(k * 5) % 7:02d}-{k}.dcm"
        data.save_as(path, write_like_original=False)
        files.append(path)
    return files


def write_multi_frame(
    path: Path, affine: Affine, shape: tuple[int, int, int] = SERIES_SHAPE
) -> None:
    """Write an Enhanced CT, whose frames run against the slices."""
    data = _dataset(EnhancedCTImageStorage, np.zeros(shape[::-1], np.uint16))
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.FrameOfReferenceUID, data.NumberOfFrames = generate_uid(), shape[2]
    shared = Dataset()
    orientation, measures, _ = _geometry(affine, 0)
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = []
    for k in reversed(range(shape[2])):
        group = Dataset()
        group.PlanePositionSequence = [_geometry(affine, k)[2]]
        data.PerFrameFunctionalGroupsSequence.append(group)
    data.save_as(path, write_like_original=False)


def _geometry(affine: Affine, place: float) -> tuple[Dataset, Dataset, Dataset]:
    """Orientation, spacing and position of a slice, as DICOM says them."""
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    orientation, measures, position = Dataset(), Dataset(), Dataset()
    along = (lps[:3, :2] / spacing[:2]).T.ravel()
    orientation.ImageOrientationPatient = [f"{number:.12f}" for number in along]
    measures.PixelSpacing = [f"{spacing[1]:g}", f"{spacing[0]:g}"]
    measures.SliceThickness = f"{spacing[2]:g}"
    corner = lps[:3, 3] + place * lps[:3, 2]
    position.ImagePositionPatient = [f"{number:.8f}" for number in corner]
    return orientation, measures, position


def _dataset(sop_class: str, pixels: npt.NDArray[np.uint16]) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.is_little_endian, data.is_implicit_VR = True, False
    data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    data.PatientName, data.PatientID = "Series^Made", "MADE"
    data.PatientBirthDate, data.PatientSex = "19700102", "F"
    data.StudyDate, data.StudyTime, data.StudyID = "20200304", "101112", "7"
    data.AccessionNumber, data.ReferringPhysicianName = "A1", "Ref^Erring"
    data.Modality, data.SeriesNumber, data.InstanceNumber = "CT", 3, 1
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelData = pixels.tobytes()
    return data

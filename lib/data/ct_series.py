"""Writing a phantom CT as a DICOM series, with the voxels, order and geometry it has as NIfTI.

The files are byte-identical for the same input: no clock, no random identifiers, no versions.
Attributes follow the CT Image IOD (DICOM PS3.3 A.3).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from lib.data.anatomy import PhantomVolume
from lib.errors import OptionError

_INTERCEPT = -1024


def stable_uid(text: str) -> UID:
    """A DICOM UID under the 2.25 root (PS3.5 B.2), always the same for the same text."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
    return UID(f"2.25.{number}")


def save_ct_series(folder: Path, volume: PhantomVolume, patient: str, patient_id: str) -> None:
    """Write a CT volume as a series of CT Image Storage files, one slice a file.

    Values are stored as 12-bit unsigned with a rescale intercept of -1024, explicit VR little
    endian, uncompressed (every viewer and archive reads that).

    Args:
        folder: an existing folder; files are named ct_001.dcm upwards, lowest slice first.
        volume: the CT; values from -1024 to 3071 HU.
        patient: the fictional name, "Family^Given".
        patient_id: the identifier all UIDs are made from, together with the voxels.

    Raises:
        OptionError: the volume is no CT, or its values do not fit 12 bits.
    """
    low, high = int(volume.array.min()), int(volume.array.max())
    if volume.modality != "CT" or low < _INTERCEPT or high > _INTERCEPT + 4095:
        raise OptionError(
            f"{volume.modality} with values {low} to {high}",
            "a CT with -1024 to 3071 HU",
            "clip the values or write NIfTI",
        )
    key = f"{patient_id} {hashlib.sha256(volume.array.tobytes()).hexdigest()}"
    for k in range(volume.array.shape[2]):
        data = _ct_slice(volume, k, key)
        data.PatientName, data.PatientID = patient, patient_id
        data.save_as(folder / f"ct_{k + 1:03d}.dcm", write_like_original=False)


def _file_meta(instance: UID) -> FileMetaDataset:
    """The file meta group, without names of software versions."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = stable_uid("samed2d export")
    meta.ImplementationVersionName = "SAMED2D"
    return meta


def _ct_slice(volume: PhantomVolume, k: int, key: str) -> FileDataset:
    """Slice k as a data set, without the patient."""
    instance = stable_uid(f"{key} slice {k}")
    data = FileDataset("", {}, file_meta=_file_meta(instance), preamble=b"\x00" * 128)
    data.is_little_endian, data.is_implicit_VR = True, False
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, instance
    data.StudyInstanceUID = stable_uid(f"{key} study")
    data.SeriesInstanceUID = stable_uid(f"{key} series")
    data.FrameOfReferenceUID = stable_uid(f"{key} frame")
    _describe(data)
    _place(data, volume, k)
    stored = (volume.array[:, :, k].T.astype(np.int32) - _INTERCEPT).astype("<u2")
    data.Rows, data.Columns = stored.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = _INTERCEPT, 1, "HU"
    data.WindowCenter, data.WindowWidth = 40, 400
    data.PixelData = stored.tobytes()
    return data


def _describe(data: Dataset) -> None:
    """Patient, study, series and equipment: fixed and plainly fictional."""
    data.SpecificCharacterSet = "ISO_IR 100"
    data.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    data.PatientBirthDate, data.PatientSex = "", "O"
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = "20200101"
    data.StudyTime = data.SeriesTime = data.AcquisitionTime = data.ContentTime = "120000"
    data.AccessionNumber, data.ReferringPhysicianName = "", ""
    data.StudyID, data.SeriesNumber, data.AcquisitionNumber = "1", 1, 1
    data.StudyDescription = "Synthetic abdomen phantom"
    data.SeriesDescription = "Phantom CT, portal venous"
    data.Modality, data.BodyPartExamined, data.PatientPosition = "CT", "ABDOMEN", "HFS"
    data.Manufacturer, data.ManufacturerModelName = "samed2d", "make_sample_data"
    data.ImageComments = "Computed from random numbers; not a person"
    data.KVP = "120"


def _place(data: Dataset, volume: PhantomVolume, k: int) -> None:
    """Where slice k lies; DICOM's axes are left, posterior, superior."""
    dx, dy, dz = volume.spacing
    corner = volume.affine @ (0, 0, k, 1)
    position = [-corner[0], -corner[1], corner[2]]
    data.InstanceNumber = k + 1
    data.ImagePositionPatient = [f"{p:.6g}" for p in position]
    data.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    data.PixelSpacing = [f"{dy:.6g}", f"{dx:.6g}"]
    data.SliceThickness = data.SpacingBetweenSlices = f"{dz:.6g}"
    data.SliceLocation = f"{position[2]:.6g}"
    data.PositionReferenceIndicator = ""

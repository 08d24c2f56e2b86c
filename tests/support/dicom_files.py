"""Small DICOM series for tests: a sagittal MR with awkward file order, and a DICOM SEG."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pydicom_seg
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, MRImageStorage, generate_uid

MR_SHAPE = (40, 56, 7)
MR_SPACING = (0.9, 0.8, 3.0)
MR_CORNER = np.array([12.0, -30.5, 44.25])
MR_ALONG_ROW = np.array([0.0, 1.0, 0.0])
MR_ALONG_COLUMN = np.array([0.0, 0.0, -1.0])
CODE = {"CodingSchemeDesignator": "SCT"}


def mr_array(seed: int = 0) -> npt.NDArray[np.uint16]:
    """A bright ball in a dim noisy block, (I, J, K); its centre is `MR_SHAPE` halved."""
    shape = np.array(MR_SHAPE)
    centre = (shape // 2)[:, None, None, None]
    scale = np.array([12, 12, 3])[:, None, None, None]
    ball = ((np.indices(MR_SHAPE) - centre) ** 2 / scale**2).sum(axis=0) < 1
    noise = np.random.default_rng(seed).normal(0, 8, MR_SHAPE)
    return np.clip(80 + 320 * ball + noise, 0, 1000).astype(np.uint16)


def write_mr_series(folder: Path, array: npt.NDArray[np.uint16], *, jpeg_2000: bool = False) -> str:
    """Write a sagittal MR series whose file names and instance numbers run against the slices.

    Args:
        folder: an existing folder.
        array: (I, J, K); slice K lies further along the normal than slice 0.
        jpeg_2000: store the pixels in JPEG 2000, lossless, as many archives do.

    Returns:
        Its SeriesInstanceUID.
    """
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    count = array.shape[2]
    for k in range(count):
        data = _mr_slice(array[:, :, k].T, k, instance_number=count - k)
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.FrameOfReferenceUID = frame
        if jpeg_2000:
            _compress(data, array[:, :, k].T)
        data.save_as(folder / f"{(k * 5) % count:02d}.dcm", write_like_original=False)
    return str(series)


def _mr_slice(rows: npt.NDArray[np.uint16], k: int, instance_number: int) -> FileDataset:
    instance = generate_uid()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.is_little_endian, data.is_implicit_VR = True, False
    data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, instance
    data.PatientName, data.PatientID, data.PatientSex, data.PatientBirthDate = "T^MR", "TMR", "", ""
    data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20200102", "", "2", ""
    data.Modality, data.BodyPartExamined, data.ReferringPhysicianName = "MR", "KNEE", ""
    data.SeriesNumber, data.InstanceNumber = 1, instance_number
    along_normal = np.cross(MR_ALONG_ROW, MR_ALONG_COLUMN)
    data.ImagePositionPatient = list(MR_CORNER + k * MR_SPACING[2] * along_normal)
    data.ImageOrientationPatient = [*MR_ALONG_ROW, *MR_ALONG_COLUMN]
    data.PixelSpacing, data.SliceThickness = [MR_SPACING[1], MR_SPACING[0]], MR_SPACING[2]
    data.Rows, data.Columns = rows.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelData = rows.astype("<u2").tobytes()
    return data


def _compress(data: Dataset, rows: npt.NDArray[np.uint16]) -> None:
    """Replace the pixels by a JPEG 2000 code stream; pydicom 2 has no encoder for it."""
    stream = io.BytesIO()
    Image.fromarray(rows.astype("<u2")).save(stream, "JPEG2000", no_jp2=True, irreversible=False)
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless
    data.PixelData = encapsulate([stream.getvalue()])
    data["PixelData"].is_undefined_length = True


def write_seg(path: Path, series_folder: Path) -> str:
    """Write a DICOM SEG with one segment, a block in the middle, for a series.

    Returns:
        Its SeriesInstanceUID.
    """
    image = read_with_simpleitk(series_folder)
    mask = sitk.Image(image.GetSize(), sitk.sitkUInt8)
    mask.CopyInformation(image)
    middle = [size // 2 for size in image.GetSize()]
    mask[middle[0] - 3 : middle[0] + 3, middle[1] - 3 : middle[1] + 3, middle[2]] = 1
    segment = {
        "labelID": 1,
        "SegmentLabel": "organ",
        "SegmentAlgorithmType": "MANUAL",
        "SegmentedPropertyCategoryCodeSequence": CODE
        | {"CodeValue": "123037004", "CodeMeaning": "Anatomical Structure"},
        "SegmentedPropertyTypeCodeSequence": CODE
        | {"CodeValue": "113343008", "CodeMeaning": "Organ"},
    }
    template = pydicom_seg.template.from_dcmqi_metainfo(
        {
            "ContentCreatorName": "Test",
            "SeriesDescription": "Segmentation",
            "SeriesNumber": "300",
            "InstanceNumber": "1",
            "BodyPartExamined": "",
            "segmentAttributes": [[segment]],
        }
    )
    sources = [
        pydicom.dcmread(file, stop_before_pixels=True) for file in sorted(series_folder.iterdir())
    ]
    seg = pydicom_seg.MultiClassWriter(template=template).write(mask, sources)
    seg.save_as(path)
    return str(seg.SeriesInstanceUID)


def read_with_simpleitk(folder: Path) -> sitk.Image:
    """The series as GDCM sorts it and ITK builds it: the reference for every grid."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()

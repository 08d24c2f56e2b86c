"""The parts of a DICOM SEG beside its frames: patient, study, equipment, segments.

Type 1 elements are always there, type 2 elements may be empty (PS3.5, 7.4).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SegmentationStorage, generate_uid
from pydicom_seg.template import rgb_to_cielab

from lib import __version__
from lib.imaging.anatomy_codes import Code, anatomy_of
from lib.imaging.dicom_header import open_dataset
from lib.imaging.grid import reading
from lib.imaging.seg_facts import MANUFACTURER, SegFacts, SegSegment

ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
_SERIES_NUMBER = 300
_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
    "PositionReferenceIndicator",
)
"""Of patient, study and frame of reference: there in any case."""
_WHERE_STATED = (
    *("IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight"),
    *("StudyDescription", "BodyPartExamined"),
    *("LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)


def new_file(facts: SegFacts, source: Path) -> FileDataset:
    """All of a SEG but its segments and frames.

    Args:
        facts: what it says about itself.
        source: a file of its series; patient, study and frame of reference are taken from there.

    Raises:
        ImageError: a source that cannot be read.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SegmentationStorage
    meta.MediaStorageSOPInstanceUID = UID(facts.instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = SegmentationStorage, facts.instance_uid
    dataset.SeriesInstanceUID, dataset.Modality = facts.series_uid, "SEG"
    dataset.SeriesNumber, dataset.InstanceNumber = _SERIES_NUMBER, 1
    with reading(source, "DICOM"):
        _copy(open_dataset(source, header_only=True), dataset)
    _add_dates(dataset, facts.created)
    _add_equipment(dataset, facts)
    dataset.SeriesDescription = dataset.ContentDescription = text(facts.description)
    dataset.ContentCreatorName = text(facts.creator.replace("=", " "))
    dataset.ContentLabel, dataset.ImageType = "SEGMENTATION", ["DERIVED", "PRIMARY"]
    dataset.SegmentationType, dataset.SegmentsOverlap = "BINARY", "NO"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    return dataset


def segment_item(number: int, segment: SegSegment, model_version: str) -> Dataset:
    """The item of SegmentSequence for a segment (PS3.3, C.8.20.4)."""
    anatomy = anatomy_of(segment.name)
    item = Dataset()
    item.SegmentNumber = number
    item.SegmentLabel = segment.name.strip()
    item.SegmentAlgorithmType = segment.algorithm
    item.SegmentedPropertyCategoryCodeSequence = [code_item(anatomy.category)]
    kind = code_item(anatomy.kind)
    if anatomy.side is not None:
        kind.SegmentedPropertyTypeModifierCodeSequence = [code_item(anatomy.side)]
    item.SegmentedPropertyTypeCodeSequence = [kind]
    item.RecommendedDisplayCIELabValue = rgb_to_cielab(list(segment.colour or anatomy.colour))
    if segment.algorithm != "MANUAL":
        name = text(segment.algorithm_name) or MANUFACTURER
        item.SegmentAlgorithmName = name
        algorithm = Dataset()
        algorithm.AlgorithmFamilyCodeSequence = [code_item(ARTIFICIAL_INTELLIGENCE)]
        algorithm.AlgorithmName = name
        algorithm.AlgorithmVersion = text(model_version) or __version__
        item.SegmentationAlgorithmIdentificationSequence = [algorithm]
    return item


def code_item(code: Code) -> Dataset:
    """An item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme
    item.CodeMeaning = code.meaning
    return item


def text(words: str) -> str:
    """Words that a text element can hold: 64 characters, without backslash and control ones."""
    kept = "".join(sign if sign.isprintable() and sign != "\\" else " " for sign in words)
    return kept.strip()[:64].strip()


def _copy(source: Dataset, target: Dataset) -> None:
    """Patient, study and frame of reference."""
    for name in (*_TYPE_2, *_WHERE_STATED):
        try:
            value = source.get(name)
        except (TypeError, ValueError):  # what stands there is no date, no number, ...
            value = None
        if value not in (None, "") or name in _TYPE_2:
            # Names are decoded here: the file that is written has another character set.
            setattr(target, name, str(value or "") if name in _TYPE_2 else value)
    target.StudyInstanceUID = str(source.StudyInstanceUID)
    lossy = str(source.get("LossyImageCompression") or "")
    target.LossyImageCompression = "01" if lossy == "01" else "00"
    # Ultrasound has none; then what lies on the same series shares one.
    target.FrameOfReferenceUID = str(source.get("FrameOfReferenceUID") or "") or generate_uid(
        entropy_srcs=["frame of reference", str(source.SeriesInstanceUID)]
    )


def _add_dates(dataset: Dataset, created: datetime) -> None:
    local = created.astimezone() if created.tzinfo else created
    for what in ("InstanceCreation", "Series", "Content"):
        setattr(dataset, f"{what}Date", local.strftime("%Y%m%d"))
        setattr(dataset, f"{what}Time", local.strftime("%H%M%S.%f"))


def _add_equipment(dataset: Dataset, facts: SegFacts) -> None:
    dataset.Manufacturer = dataset.ManufacturerModelName = MANUFACTURER
    dataset.DeviceSerialNumber = MANUFACTURER
    version = text(facts.model_version)
    dataset.SoftwareVersions = [__version__, version] if version else __version__

"""What the DICOMweb metadata of a SEG series say: whose image it belongs to, and how new it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from lib.errors import ImageError
from lib.imaging.seg_facts import MANUFACTURER
from lib.server.pacs_questions import UID

_DATES = ("SeriesDate", "ContentDate", "InstanceCreationDate")
_TIMES = tuple(name.replace("Date", "Time") for name in _DATES)
_SIZES = ("Columns", "Rows", "NumberOfFrames")
_OTHERS = ("SOPInstanceUID", "ReferencedSeriesSequence", "PatientID")
_MAKER = ("Manufacturer", "SegmentSequence")
_TAGS = {f"{tag_for_keyword(name):08X}" for name in (*_DATES, *_TIMES, *_SIZES, *_OTHERS, *_MAKER)}
"""All that is looked at: the metadata describe every frame, and name the patient."""


@dataclass(frozen=True)
class SegInstance:
    """One file of a SEG series.

    Attributes:
        uid: SOPInstanceUID.
        written: date and time as digits, "20261121093026.744830"; empty where not stated.
        sizes: columns, rows, frames.
    """

    uid: str
    written: str
    sizes: tuple[int, int, int]


@dataclass(frozen=True)
class StoredSeg:
    """One SEG series of a PACS.

    Attributes:
        study: StudyInstanceUID.
        series: SeriesInstanceUID.
        image: SeriesInstanceUID of the image it was drawn on; empty where it does not say.
        patient: PatientID, or the study where there is none.
        instances: its files, oldest first.
        automatic: all of it was drawn by a model of ours alone, and looked at by nobody.
    """

    study: str
    series: str
    image: str
    patient: str
    instances: tuple[SegInstance, ...]
    automatic: bool = False

    @property
    def age_key(self) -> tuple[str, list[int]]:
        """Sorts by date; of two of one second (dcmqi writes no fractions) by the UID's numbers."""
        newest = max((instance.written for instance in self.instances), default="")
        return age_key(newest, self.series)


def age_key(written: str, series: str) -> tuple[str, list[int]]:
    """Sorts labels by date as digits, those of one moment by the numbers of their UID."""
    return written, [int(number) for number in series.split(".") if number.isdigit()]


def parse_seg_series(study: str, series: str, metadata: Sequence[Mapping[str, Any]]) -> StoredSeg:
    """Read the answer to a question for the metadata of a series (DICOM JSON, PS3.18, F).

    Raises:
        ImageError: an answer without instances, or one that is no DICOM JSON.
    """
    try:
        files = [
            Dataset.from_json({tag: item[tag] for tag in _TAGS & item.keys()}) for item in metadata
        ]
        instances = sorted(map(_instance, files), key=lambda file: (file.written, file.uid))
        images = [image for file in files if (image := _referenced(file))]
        patients = [str(file.get("PatientID") or "").strip() for file in files]
        automatic = all(map(_is_automatic, files))
    except Exception as error:  # pydicom has no one error for bad JSON
        raise _no_metadata(series, str(error)[:200] or type(error).__name__) from error
    if not instances:
        raise _no_metadata(series, "no instance")
    patient = next(filter(None, patients), study)
    return StoredSeg(study, series, (images or [""])[0], patient, tuple(instances), automatic)


def _instance(file: Dataset) -> SegInstance:
    uid = str(file.SOPInstanceUID)
    if not UID.fullmatch(uid):
        raise ValueError(f"SOPInstanceUID {uid[:64]!r}")
    # The newest date: some writers leave the image's own date in the series.
    written = max(_moment(file, name) for name in _DATES)
    columns, rows, frames = (int(file.get(name) or 0) for name in _SIZES)
    return SegInstance(uid, written, (columns, rows, frames))


def _is_automatic(file: Dataset) -> bool:
    segments = file.get("SegmentSequence") or ()
    kinds = {str(segment.get("SegmentAlgorithmType") or "") for segment in segments}
    return str(file.get("Manufacturer") or "") == MANUFACTURER and kinds == {"AUTOMATIC"}


def _moment(file: Dataset, name: str) -> str:
    date = str(file.get(name) or "")
    return date + str(file.get(name.replace("Date", "Time")) or "") if date.isdigit() else ""


def _referenced(file: Dataset) -> str:
    for item in file.get("ReferencedSeriesSequence") or ():
        return str(item.get("SeriesInstanceUID") or "")
    return ""


def _no_metadata(series: str, why: str) -> ImageError:
    return ImageError(
        got=f"SEG series {series}, whose metadata cannot be read ({why})",
        allowed="metadata in DICOM JSON of at least one instance",
        todo="look at this series in the PACS",
    )

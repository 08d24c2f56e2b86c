"""What the headers of DICOM files say about their image planes; no pixel is decoded here.

A `Plane` is one 2D image: a whole classic file, or one frame of a multi-frame file. Values that a
vendor left out are None; `lib.imaging.dicom_order` decides what to do about them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import MediaStorageDirectoryStorage

from lib.errors import ImageError
from lib.imaging.grid import ReadLimits

_NO_PICTURE = {
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "SEG",
    "1.2.840.10008.5.1.4.1.1.481.2": "RTDOSE",
}
"""Storage classes with rows and columns that are no image to segment."""


@dataclass(frozen=True)
class Plane:
    """One 2D image of a series, as its header describes it.

    Attributes:
        path: the file.
        frame: number of the frame in the file, from 0.
        frames: number of frames in the file.
        rows: image height in pixels.
        columns: image width in pixels.
        samples: 1 grey (or palette), 3 colour.
        series_uid: SeriesInstanceUID.
        sop_uid: SOPInstanceUID.
        sop_class: SOPClassUID; empty where absent.
        instance: InstanceNumber (0 where absent).
        localizer: whether ImageType calls it a localizer.
        orientation: direction cosines in LPS, six numbers: of a row, then of a column.
        position: LPS millimetres of the centre of the first pixel.
        pixel_spacing: mm between rows, mm between columns.
        slice_location: mm along an axis of the vendor's choice.
        thickness: SpacingBetweenSlices, else SliceThickness, mm.
        slope: rescale slope; 1 where absent or 0.
        intercept: rescale intercept; 0 where absent.
        lowest: smallest number that the stored bits can hold; None for float pixels.
        highest: largest such number; None for float pixels.
        modality: Modality.
        body_part: BodyPartExamined.
    """

    path: Path
    frame: int
    frames: int
    rows: int
    columns: int
    samples: int
    series_uid: str
    sop_uid: str
    sop_class: str
    instance: int
    localizer: bool
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    slice_location: float | None
    thickness: float | None
    slope: float
    intercept: float
    lowest: int | None
    highest: int | None
    modality: str | None
    body_part: str | None


def read_planes(paths: Iterable[Path], limits: ReadLimits) -> tuple[list[Plane], list[str]]:
    """Planes of all image files among `paths`, and warnings about what was skipped.

    Raises:
        ImageError: a file whose frames alone exceed the limits.
    """
    planes: list[Plane] = []
    skipped: Counter[str] = Counter()
    seen: set[Plane] = set()
    for path in paths:
        reason, dataset = _open(path)
        if dataset is None:
            skipped[reason] += 1
            continue
        for plane in _planes_of(dataset, path, limits):
            # Not by SOPInstanceUID alone: anonymised series exist that share one.
            identity = replace(plane, path=Path())
            if identity in seen:
                skipped["a copy of another file"] += 1
            else:
                planes.append(plane)
                seen.add(identity)
    return planes, [f"skipped {n} file(s): {reason}" for reason, n in sorted(skipped.items())]


def open_dataset(path: Path, *, header_only: bool) -> Dataset:
    """The data set of a DICOM file, also of one without the 128 byte preamble.

    Raises:
        InvalidDicomError: not DICOM. Other exceptions of pydicom and OSError pass through.
    """
    try:
        return pydicom.dcmread(path, stop_before_pixels=header_only)
    except InvalidDicomError:
        # Archives of the nineties wrote bare data sets, which begin with group 0002 or 0008.
        # Nothing else is parsed by force, and only what names its class is accepted.
        with path.open("rb") as file:
            if file.read(2) not in (b"\x02\x00", b"\x08\x00"):
                raise
        dataset = pydicom.dcmread(path, stop_before_pixels=header_only, force=True)
        if "SOPClassUID" not in dataset or "Rows" not in dataset:
            raise
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = (
                pydicom.uid.ImplicitVRLittleEndian
                if dataset.is_implicit_VR
                else pydicom.uid.ExplicitVRLittleEndian
            )
        return dataset


def _open(path: Path) -> tuple[str, Dataset | None]:
    """The header of an image file, or why the file is none."""
    try:
        if is_dicomdir(path):
            return "a DICOMDIR is never opened", None
        dataset = open_dataset(path, header_only=True)
    except Exception:  # pydicom raises almost anything on bytes that are no DICOM
        return "not a DICOM file", None
    kind = _NO_PICTURE.get(str(dataset.get("SOPClassUID", "")))
    if kind is None and not (dataset.get("Rows") and dataset.get("Columns")):
        kind = str(dataset.get("Modality", "") or "unknown kind")
    if kind is not None:
        return f"holds no image ({kind})", None
    return "", dataset


def is_dicomdir(path: Path) -> bool:
    """Whether the file is a DICOMDIR, by its name or by its meta header.

    pydicom would follow the file names inside it to anywhere on the disk (CVE-2026-32711).
    """
    if path.name.upper().split(".")[0] == "DICOMDIR":
        return True
    try:
        meta = read_file_meta_info(path)
    except Exception:  # no DICOM at all, or a damaged one: others report it
        return False
    return bool(meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage)


def _planes_of(dataset: Dataset, path: Path, limits: ReadLimits) -> Iterator[Plane]:
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    n_frames = _integer(dataset, "NumberOfFrames") or 1
    limits.check((columns, rows, n_frames), path.name)
    shared = _items(dataset, "SharedFunctionalGroupsSequence")[:1]
    per_frame = _items(dataset, "PerFrameFunctionalGroupsSequence")
    lowest, highest = stored_range(dataset)
    for frame in range(n_frames):
        # A value may stand in the frame's own group, in the shared group, or (classic) on top.
        groups = [*per_frame[frame : frame + 1], *shared]
        measures = _find(groups, "PixelMeasuresSequence", dataset)
        rescale = _find(groups, "PixelValueTransformationSequence", dataset)
        yield Plane(
            path=path,
            frame=frame,
            frames=n_frames,
            rows=rows,
            columns=columns,
            samples=_integer(dataset, "SamplesPerPixel") or 1,
            series_uid=str(dataset.get("SeriesInstanceUID", "") or "unknown"),
            sop_uid=str(dataset.get("SOPInstanceUID", "") or path.name),
            sop_class=str(dataset.get("SOPClassUID", "") or ""),
            instance=_integer(dataset, "InstanceNumber") or 0,
            localizer="LOCALIZER" in str(dataset.get("ImageType", "")).upper(),
            orientation=_numbers(
                _find(groups, "PlaneOrientationSequence", dataset), "ImageOrientationPatient", 6
            ),
            position=_numbers(
                _find(groups, "PlanePositionSequence", dataset), "ImagePositionPatient", 3
            ),
            pixel_spacing=_pixel_spacing(measures),
            slice_location=_number(dataset, "SliceLocation"),
            thickness=_positive(measures, "SpacingBetweenSlices")
            or _positive(measures, "SliceThickness"),
            slope=_number(rescale, "RescaleSlope") or 1.0,
            intercept=_number(rescale, "RescaleIntercept") or 0.0,
            lowest=lowest,
            highest=highest,
            modality=_text(dataset, "Modality"),
            body_part=_text(dataset, "BodyPartExamined"),
        )


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    return list(dataset.get(keyword) or [])


def _find(groups: list[Dataset], keyword: str, otherwise: Dataset) -> Dataset:
    for group in groups:
        for item in _items(group, keyword):
            return item
    return otherwise


def _numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Finite numbers of an element; None where absent, empty, unreadable or of another count."""
    try:
        value = dataset.get(keyword)
        values = (value,) if isinstance(value, str | float | int) else tuple(value or ())
        numbers = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _number(dataset: Dataset, keyword: str) -> float | None:
    numbers = _numbers(dataset, keyword, 1)
    return numbers[0] if numbers else None


def _positive(dataset: Dataset, keyword: str) -> float | None:
    number = _number(dataset, keyword)
    return number if number is not None and number > 0 else None


def _integer(dataset: Dataset, keyword: str) -> int | None:
    number = _number(dataset, keyword)
    return None if number is None else int(number)


def _text(dataset: Dataset, keyword: str) -> str | None:
    return str(dataset.get(keyword) or "").strip() or None


def _pixel_spacing(measures: Dataset) -> tuple[float, ...] | None:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        spacing = _numbers(measures, keyword, 2)
        if spacing and min(spacing) > 0:
            return spacing
    return None


def stored_range(dataset: Dataset) -> tuple[int | None, int | None]:
    """What BitsStored and PixelRepresentation allow; (None, None) where they are not stated."""
    bits = _integer(dataset, "BitsStored") or 0
    if not 1 <= bits <= 32:
        return None, None
    if _integer(dataset, "PixelRepresentation"):
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1


def no_image(name: str, warnings: Iterable[str]) -> ImageError:
    """The error for a folder or file in which nothing is a DICOM image."""
    details = "; ".join(warnings)
    return ImageError(
        got=f"{name} without a DICOM image" + (f" ({details})" if details else ""),
        allowed="the image files of one series (CT, MR, CR, US, ...)",
        todo="give the folder that holds the image files themselves",
    )

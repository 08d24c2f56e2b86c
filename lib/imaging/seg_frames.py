"""The frames of a DICOM SEG: where each lies, which image it was drawn on, and its bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pydicom.valuerep import DSfloat

from lib.errors import ImageError
from lib.imaging.affine import LPS_TO_RAS, spacing_of
from lib.imaging.anatomy_codes import Code
from lib.imaging.dicom_header import Plane
from lib.imaging.grid import Array
from lib.imaging.seg_modules import code_item
from lib.imaging.seg_source import LabelledStack

SEGMENTATION = Code("113076", "DCM", "Segmentation")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
_MOST_BYTES = 2**32 - 2
"""Of an element of known length."""
_DIMENSIONS = (
    ("ReferencedSegmentNumber", "SegmentIdentificationSequence"),
    ("ImagePositionPatient", "PlanePositionSequence"),
)


@dataclass(frozen=True)
class Frame:
    """A segment on a slice.

    Attributes:
        segment: its number, from 1.
        value: its value in the label map.
        k: the slice.
    """

    segment: int
    value: int
    k: int


def add_frames(dataset: Dataset, frames: Sequence[Frame], stack: LabelledStack) -> None:
    """Put frames (at least one) into a SEG: geometry, references and pixels.

    Raises:
        ImageError: more pixels than a DICOM file can hold.
    """
    columns, rows = stack.labels.shape[:2]
    size = -(-columns * rows * len(frames) // 8)
    if size > _MOST_BYTES:
        raise ImageError(
            got=f"{len(frames)} frames of {columns} x {rows}, {size} bytes",
            allowed=f"at most {_MOST_BYTES} bytes",
            todo="save fewer segments at once",
        )
    dataset.Columns, dataset.Rows, dataset.NumberOfFrames = columns, rows, len(frames)
    _add_references(dataset, stack.planes)
    _add_dimensions(dataset)
    dataset.SharedFunctionalGroupsSequence = [_shared(stack)]
    rank = {k: n for n, k in enumerate(sorted({frame.k for frame in frames}), start=1)}
    dataset.PerFrameFunctionalGroupsSequence = [
        _group(frame, rank[frame.k], stack) for frame in frames
    ]
    dataset.PixelData = _packed(stack.labels, frames)
    dataset["PixelData"].VR = "OB"  # of one bit a pixel, whatever the number of bytes


def _packed(labels: Array, frames: Sequence[Frame]) -> bytes:
    """One bit a pixel, the first in the lowest bit; frames follow each other within a byte.

    Eight frames at a time: their bits fill whole bytes, whatever their size.
    """
    parts = []
    for start in range(0, len(frames), 8):
        some = frames[start : start + 8]
        bits = np.stack([labels[:, :, frame.k].T == frame.value for frame in some])
        parts.append(np.packbits(bits, axis=None, bitorder="little").tobytes())
    data = b"".join(parts)
    return data + b"\0" * (len(data) % 2)


def _add_references(dataset: Dataset, planes: Sequence[Plane]) -> None:
    series = Dataset()
    series.SeriesInstanceUID = planes[0].series_uid
    files = dict.fromkeys((plane.sop_class, plane.sop_uid) for plane in planes)
    series.ReferencedInstanceSequence = [_reference(*file) for file in files]
    dataset.ReferencedSeriesSequence = [series]


def _reference(sop_class: str, sop_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_uid
    return item


def _add_dimensions(dataset: Dataset) -> None:
    uid = generate_uid(entropy_srcs=["dimensions", str(dataset.SOPInstanceUID)])
    organization = Dataset()
    organization.DimensionOrganizationUID = uid
    dataset.DimensionOrganizationSequence = [organization]
    dataset.DimensionIndexSequence = []
    for name, sequence in _DIMENSIONS:
        item = Dataset()
        item.DimensionOrganizationUID = uid
        item.DimensionIndexPointer = tag_for_keyword(name)
        item.FunctionalGroupPointer = tag_for_keyword(sequence)
        item.DimensionDescriptionLabel = name
        dataset.DimensionIndexSequence.append(item)


def _shared(stack: LabelledStack) -> Dataset:
    """What all frames have in common: spacing and orientation."""
    columns_apart, rows_apart, slices_apart = spacing_of(stack.affine)
    directions = (LPS_TO_RAS @ stack.affine)[:3, :3] / spacing_of(stack.affine)
    measures, plane = Dataset(), Dataset()
    measures.PixelSpacing = _decimals([rows_apart, columns_apart])
    measures.SliceThickness = measures.SpacingBetweenSlices = _decimals([slices_apart])[0]
    plane.ImageOrientationPatient = _decimals([*directions[:, 0], *directions[:, 1]])
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    return shared


def _group(frame: Frame, rank: int, stack: LabelledStack) -> Dataset:
    """What one frame has for itself."""
    content, position, segment = Dataset(), Dataset(), Dataset()
    content.DimensionIndexValues = [frame.segment, rank]
    position.ImagePositionPatient = _decimals(stack.positions[frame.k].tolist())
    segment.ReferencedSegmentNumber = frame.segment
    group = Dataset()
    group.FrameContentSequence, group.PlanePositionSequence = [content], [position]
    group.SegmentIdentificationSequence = [segment]
    group.DerivationImageSequence = [_derivation(stack.planes[frame.k])]
    return group


def _derivation(plane: Plane) -> Dataset:
    """Which image, or which frame of one, a frame was drawn on."""
    image = _reference(plane.sop_class, plane.sop_uid)
    if plane.frames > 1:
        image.ReferencedFrameNumber = plane.frame + 1
    image.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
    image.SpatialLocationsPreserved = "YES"
    derivation = Dataset()
    derivation.SourceImageSequence = [image]
    derivation.DerivationCodeSequence = [code_item(SEGMENTATION)]
    return derivation


def _decimals(numbers: Sequence[float]) -> list[DSfloat]:
    """As many digits as the 16 characters of a decimal string hold."""
    return [DSfloat(float(number) + 0.0, auto_format=True) for number in numbers]

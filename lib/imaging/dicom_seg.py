"""DICOM SEG (PS3.3, A.51) read back as a label map on the grid of the image it was drawn on.

A SEG holds one frame for each segment and plane, each with its own position, often only the part
around the object and only the planes that carry something. Frames are put together on the SEG's
own grid (`dicom_seg_stack`), and that is brought onto the image's grid by position in space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from lib.errors import ImageError
from lib.imaging.affine import LPS_TO_RAS, Affine, world_to_voxel
from lib.imaging.dicom_header import is_dicomdir
from lib.imaging.dicom_seg_stack import Frame, Labels, Vector, stack_frames
from lib.imaging.grid import ReadLimits, reading
from lib.imaging.label_grid import nearest_on_grid
from lib.imaging.seg_facts import MANUFACTURER

_HEADER = ["NumberOfFrames", "Rows", "Columns", "SOPClassUID", "SegmentationType"]


@dataclass(frozen=True, eq=False)
class SegLabels:
    """What a DICOM SEG says about an image.

    Attributes:
        labels: (I, J, K) uint16 on the image's grid; the value is the SegmentNumber.
        names: value -> SegmentLabel, of all segments that have one, also of empty ones.
        warnings: sentences about what was decided while reading.
        reviewed: slices k that were looked at and in which nothing was found: those for which a
            SEG of our own writer has a frame without a voxel. Of other writers none, because many
            write a frame for every slice.
    """

    labels: Labels
    names: Mapping[int, str]
    warnings: tuple[str, ...] = ()
    reviewed: frozenset[int] = frozenset()


def read_seg(
    path: Path, grid: Affine, shape: tuple[int, int, int], limits: ReadLimits | None = None
) -> SegLabels:
    """Read a DICOM SEG onto an image's grid, nearest neighbour.

    Args:
        path: of the file.
        grid: (4, 4) of the image, RAS mm.
        shape: (I, J, K) of the image.
        limits: for rows x columns x frames, checked before any pixel is decoded.

    Returns:
        The label map. Where segments overlap, the one with the larger number wins, with a
        warning; fractional segments count from half of their largest value on.

    Raises:
        ImageError: no DICOM SEG, damaged, beyond the limits, planes that make no stack, or all of
            it beside the image.
    """
    limits = limits or ReadLimits()
    with reading(path, "DICOM SEG"):
        _check_header(path, limits)
        dataset = pydicom.dcmread(path)
        names = _names(dataset)
        frames = list(_frames(dataset))
        if not frames:
            return SegLabels(np.zeros(shape, np.uint16), names)
        masks = _masks(dataset, len(frames))
        stack = stack_frames(frames, masks, grid, limits, path.name)
        labels = nearest_on_grid(stack.labels, stack.affine, grid, shape)
        reviewed = frozenset[int]()
        if dataset.get("Manufacturer") == MANUFACTURER:
            reviewed = _empty_slices(frames, masks, grid, labels)
    if stack.labels.any() and not labels.any():
        raise ImageError(
            got=f"{path.name}, whose segments all lie beside the image",
            allowed="a segmentation of this image",
            todo="segment the image again, or delete the segmentation",
        )
    overlap = f"segments overlap in {stack.overlap} voxels, which the later one has now"
    return SegLabels(labels, names, (overlap,) if stack.overlap else (), reviewed)


def merge_segs(parts: Sequence[SegLabels]) -> SegLabels:
    """Several files of one series as one label map; later ones win.

    Args:
        parts: at least one, on one grid. Each file counts its segments from 1, so those of the
            second and further ones get the values after the largest before.

    Raises:
        ImageError: more segments than there are values.
    """
    if len(parts) == 1:
        return parts[0]
    labels = np.zeros(parts[0].labels.shape[::-1], np.uint16).T
    names: dict[int, str] = {}
    first = 0
    for part in parts:
        taken = part.labels != 0
        last = first + max([int(part.labels.max()), *part.names])
        if last >= 2**16:
            raise ImageError(
                got=f"a series with segments up to number {last}",
                allowed=f"at most {2**16 - 1}",
                todo="export the segmentation again",
            )
        labels[taken] = part.labels[taken] + np.uint16(first)
        names |= {first + value: name for value, name in part.names.items()}
        first = last
    warnings = tuple(text for part in parts for text in part.warnings)
    reviewed = frozenset[int]().union(*(part.reviewed for part in parts))
    return SegLabels(labels, names, warnings, _without_voxels(reviewed, labels))


def _check_header(path: Path, limits: ReadLimits) -> None:
    """Refuse what is no SEG, or too large, on the header alone."""
    kind = "a DICOMDIR"
    if not is_dicomdir(path):
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_HEADER))
        kind = f"segmentation type {header.get('SegmentationType') or 'unknown'}"
        if header.get("SOPClassUID") != SegmentationStorage:
            kind = "another kind of DICOM file"
        elif str(header.get("SegmentationType")).strip() in ("BINARY", "FRACTIONAL"):
            sizes = [int(header.get(name) or 0) for name in ("Columns", "Rows", "NumberOfFrames")]
            return limits.check(sizes, path.name) if sizes[2] else None
    raise ImageError(
        got=f"{path.name} ({kind})",
        allowed="a DICOM SEG file of type BINARY or FRACTIONAL",
        todo="export the segmentation as DICOM SEG",
    )


def _names(dataset: Dataset) -> dict[int, str]:
    """SegmentNumber -> SegmentLabel."""
    labels = {
        int(segment.SegmentNumber): str(segment.get("SegmentLabel") or "").strip()
        for segment in dataset.get("SegmentSequence") or ()
    }
    return {number: label for number, label in labels.items() if label}


def _frames(dataset: Dataset) -> Iterator[Frame]:
    """What the functional groups say about each frame (PS3.3, C.7.6.16)."""
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or ())[:1]
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or ())
    announced = int(dataset.get("NumberOfFrames") or 0)
    if len(groups) != announced:
        raise ValueError(f"{len(groups)} of {announced} frames are described")
    for group in groups:
        places = [group, *shared]
        orientation = _found(places, "PlaneOrientationSequence").ImageOrientationPatient
        position = _found(places, "PlanePositionSequence").ImagePositionPatient
        measures = _found(places, "PixelMeasuresSequence")
        segment = int(_found(places, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        if segment < 1:
            raise ValueError(f"segment number {segment}")
        rows, columns = (float(number) for number in measures.PixelSpacing)
        distance = measures.get("SpacingBetweenSlices")
        yield Frame(
            segment=segment,
            position=np.array(position, dtype=np.float64),
            along_row=_unit(orientation[:3]),
            along_column=_unit(orientation[3:]),
            spacing=(columns, rows),
            distance=None if distance is None else abs(float(distance)),
        )


def _empty_slices(
    frames: Sequence[Frame], masks: npt.NDArray[np.bool_], grid: Affine, labels: Labels
) -> frozenset[int]:
    """Slices k of the image on which a frame lies, and no voxel."""
    rows, columns = masks.shape[1:]
    found = set()
    for frame, mask in zip(frames, masks, strict=True):
        if mask.any():
            continue
        far = frame.along_row * frame.spacing[0] * (columns - 1)
        far = far + frame.along_column * frame.spacing[1] * (rows - 1)
        ends = np.array([frame.position, frame.position + far])
        first, last = np.rint(world_to_voxel(LPS_TO_RAS @ grid, ends)[:, 2])
        if first == last and 0 <= first < labels.shape[2]:
            found.add(int(first))
    return _without_voxels(frozenset(found), labels)


def _without_voxels(slices: frozenset[int], labels: Labels) -> frozenset[int]:
    return frozenset(k for k in slices if not labels[:, :, k].any())


def _unit(numbers: Sequence[float]) -> Vector:
    vector = np.array(numbers, dtype=np.float64)
    return np.asarray(vector / np.linalg.norm(vector))


def _found(groups: Sequence[Dataset], name: str) -> Dataset:
    """The first item of a sequence in the frame's own group, or in the shared one."""
    items = [item for group in groups for item in group.get(name) or ()]
    if not items:
        raise ValueError(f"a frame without {name}")
    first: Dataset = items[0]
    return first


def _masks(dataset: Dataset, count: int) -> npt.NDArray[np.bool_]:
    """(F, rows, columns) bool."""
    pixels = np.reshape(dataset.pixel_array, (-1, int(dataset.Rows), int(dataset.Columns)))
    if len(pixels) != count:
        raise ValueError(f"{len(pixels)} frames of pixels, {count} announced")
    if str(dataset.SegmentationType).strip() == "BINARY":
        return np.asarray(pixels != 0)
    return np.asarray(pixels >= int(dataset.get("MaximumFractionalValue") or 255) / 2)

"""A label map as a DICOM SEG (PS3.3, A.51): one bit for each voxel, segment by segment.

pydicom-seg's writer, which MONAI Label can use, makes up UIDs and dates, leaves the patient's
study without its character set, and ties a name to a label value that may not occur. Here
everything that is written comes from the caller or from the files of the series, so that the same
call writes the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset

from lib.errors import ImageError
from lib.imaging.affine import Affine
from lib.imaging.grid import Array
from lib.imaging.seg_facts import (
    MANUFACTURER,
    NOTHING_FOUND,
    Algorithm,
    SegFacts,
    SegSegment,
)
from lib.imaging.seg_frames import Frame, add_frames
from lib.imaging.seg_modules import new_file, segment_item
from lib.imaging.seg_source import LabelledStack, read_source

__all__ = ["MANUFACTURER", "NOTHING_FOUND", "Algorithm", "SegFacts", "SegSegment", "write_seg"]


def write_seg(
    path: Path,
    labels: Array,
    affine: Affine,
    segments: Sequence[SegSegment],
    sources: Sequence[Path],
    facts: SegFacts,
) -> None:
    """Write a label map as a DICOM SEG of type BINARY.

    Its segments are the values that occur, numbered from 1 in the order of the values; names go
    with values. Frames are the slices on which a segment occurs, and a frame without a voxel, of
    the first segment, for each reviewed slice without any label. Where nothing at all is labelled
    and no slice is named as reviewed, all count as reviewed.

    Args:
        path: of the file; whole or not there at all.
        labels: (I, J, K) whole numbers 0 to 65535 on the image's grid.
        affine: (4, 4) RAS of that grid.
        segments: what the values mean; a value that is missing here is named "segment <value>".
        sources: the files of the series, in any order.
        facts: what the file says about itself.

    Raises:
        ImageError: values that are no labels, a label map on another grid than the files, no
            files, files of several series, two segments of one value, or too many frames.
        OSError: the disk does not take the file.
    """
    _check_labels(labels)
    stack = read_source(sources, labels, affine, facts.reviewed)
    slices = _slices_of_values(stack.labels)
    chosen = _chosen(segments, sorted(slices))
    dataset = new_file(facts, stack.planes[0].path)
    dataset.SegmentSequence = [
        segment_item(number, segment, facts.model_version)
        for number, segment in enumerate(chosen, start=1)
    ]
    add_frames(dataset, list(_frames(chosen, slices, stack)), stack)
    _save(dataset, path)


def _check_labels(labels: Array) -> None:
    got = f"labels of shape {labels.shape} and type {labels.dtype}"
    if labels.ndim == 3 and labels.dtype.kind in "bui" and labels.size:
        low, high = int(labels.min()), int(labels.max())
        if low >= 0 and high <= 65535:
            return
        got = f"label values from {low} to {high}"
    raise ImageError(
        got=got,
        allowed="a 3D label map of whole numbers from 0 to 65535",
        todo="export the segmentation as a label map",
    )


def _slices_of_values(labels: Array) -> dict[int, list[int]]:
    """Label value -> slices on which it occurs, ascending."""
    found: dict[int, list[int]] = {}
    for k in range(labels.shape[2]):
        counts = np.bincount(labels[:, :, k].ravel(order="K"))
        for value in np.flatnonzero(counts[1:]) + 1:
            found.setdefault(int(value), []).append(k)
    return found


def _chosen(segments: Sequence[SegSegment], values: Sequence[int]) -> list[SegSegment]:
    """The segments to write; one for the sake of reviewed slices where nothing is labelled."""
    known = {segment.value: segment for segment in segments}
    if len(known) < len(segments):
        raise ImageError(
            got=f"{len(segments)} segments for {len(known)} label values",
            allowed="one segment for each value",
            todo="leave the doubled ones out",
        )
    if not values:
        return [*segments[:1]] or [SegSegment(1, NOTHING_FOUND, "MANUAL")]
    return [
        known.get(value) or SegSegment(value, f"segment {value}", "SEMIAUTOMATIC")
        for value in values
    ]


def _frames(
    chosen: Sequence[SegSegment], slices: Mapping[int, Sequence[int]], stack: LabelledStack
) -> Iterator[Frame]:
    """Frames by segment, then along the stack."""
    reviewed = stack.reviewed
    if not slices and not reviewed:
        reviewed = frozenset(range(len(stack.planes)))
    empty = reviewed.difference(*slices.values())
    for number, segment in enumerate(chosen, start=1):
        own = {*slices.get(segment.value, ()), *(empty if number == 1 else ())}
        for k in sorted(own):
            yield Frame(number, segment.value, k)


def _save(dataset: FileDataset, path: Path) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            dataset.save_as(file, write_like_original=False)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)

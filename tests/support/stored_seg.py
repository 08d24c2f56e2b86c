"""A DICOM SEG of a PACS as label maps by image, read with pydicom alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from tests.support.orthanc import RunningOrthanc


def newest_seg(pacs: RunningOrthanc) -> Dataset:
    """The SEG with the latest content date and time."""
    client = pacs.client()
    found = []
    for series in client.search_for_series(search_filters={"Modality": "SEG"}):
        study, uid = (series[tag]["Value"][0] for tag in ("0020000D", "0020000E"))
        found.extend(client.retrieve_series(study, uid))
    return max(found, key=lambda seg: (seg.ContentDate, seg.ContentTime))


def masks_by_name(
    seg: Dataset, instances: Sequence[str], shape: tuple[int, int, int]
) -> dict[str, npt.NDArray[np.bool_]]:
    """Segment label -> mask (I, J, K), whose slice k lies on the k-th of the instances."""
    names = {int(item.SegmentNumber): str(item.SegmentLabel) for item in seg.SegmentSequence}
    masks = {name: np.zeros(shape[::-1], bool) for name in names.values()}
    frames = np.atleast_3d(seg.pixel_array).reshape(-1, seg.Rows, seg.Columns)
    for pixels, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        k = instances.index(str(source.ReferencedSOPInstanceUID))
        masks[names[int(number)]][k] |= pixels > 0
    return {name: mask.transpose(2, 1, 0) for name, mask in masks.items()}

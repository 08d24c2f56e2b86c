"""Label maps in new temporary files, in the formats that clients ask for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lib.imaging.segmentation import write_label, write_nrrd_slices
from lib.imaging.volume import Volume
from lib.inference.volume_mask import PackedMask


def planes_of(
    masks: Mapping[str, Mapping[int, PackedMask]], values: Mapping[str, int]
) -> dict[int, NDArray[np.uint8]]:
    """Masks as label values: slice k -> (H, W). Where two overlap, the later one is seen.

    Args:
        masks: label -> slice -> mask.
        values: label -> value, up to 255.
    """
    planes: dict[int, NDArray[np.uint8]] = {}
    for name, slices in masks.items():
        for k, mask in slices.items():
            plane = planes.setdefault(k, np.zeros((mask.height, mask.width), np.uint8))
            plane[mask.unpack()] = values[name]
    return planes


def write_planes(planes: Mapping[int, NDArray[np.uint8]], volume: Volume, extension: str) -> Path:
    """Write the slices that carry something as a label map of the whole volume.

    The file lies on the image's own grid. It is compressed although OHIF asks for
    ``result_compress: false``: OHIF reads gzip, and a label map of one slice shrinks a
    thousandfold.

    Args:
        planes: slice k -> values (H, W); all other slices are 0.
        volume: the image.
        extension: of the file, see `lib.server.requests.RESULT_EXTENSIONS`.

    Returns:
        Path of a file that the caller removes.
    """
    handle, name = tempfile.mkstemp(prefix="samed2d-", suffix=extension)
    os.close(handle)
    path = Path(name)
    try:
        if extension == ".nrrd":
            write_nrrd_slices(path, dict(planes), volume.shape, volume.affine)
        else:
            labels = np.zeros(volume.shape[::-1], dtype=np.uint8)
            for k, plane in planes.items():
                labels[k] = plane
            write_label(path, labels.transpose(2, 1, 0), volume.affine)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path

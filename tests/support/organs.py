"""Where to click in the sample study: organs of its label maps, and a point deep inside one."""

from __future__ import annotations

import json
from functools import cache

import nibabel as nib
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from tests.support.server import REPOSITORY

SAMPLE_DATA = REPOSITORY / "sample-data"
CT_SERIES = SAMPLE_DATA / "dicom" / "phantom_ct"
CT_NAME = "phantom_abdomen_ct"

Voxel = tuple[int, int, int]
Mask = npt.NDArray[np.bool_]


def organ_names(image: str = CT_NAME) -> list[str]:
    """Names of the labelled organs of one image of the sample study."""
    return list(_table()[image].values())


def image_names() -> list[str]:
    """Names of the labelled images of the sample study."""
    return list(_table())


def organ_mask(organ: str, image: str = CT_NAME) -> Mask:
    """One organ as (I, J, K) in the voxel grid of the image; the CT's files share one grid."""
    value = {name: int(text) for text, name in _table()[image].items()}[organ]
    path = next((SAMPLE_DATA / "labels").glob(f"{image}.*"))
    if path.suffix == ".png":
        return (np.asarray(Image.open(path)).T == value)[:, :, None]
    return np.asarray(nib.load(path).dataobj) == value


def organ_click(mask: Mask) -> Voxel:
    """The voxel deepest inside the organ, on the slice where the organ is largest."""
    k = int(mask.sum(axis=(0, 1)).argmax())
    depth = ndimage.distance_transform_edt(mask[:, :, k])
    i, j = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(i), int(j), k


@cache
def _table() -> dict[str, dict[str, str]]:
    return dict(json.loads((SAMPLE_DATA / "labels" / "labels.json").read_text()))

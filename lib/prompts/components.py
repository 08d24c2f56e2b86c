"""Connected components of a binary mask and their bounding boxes.

Masks are (H, W), axis 0 = row y, axis 1 = column x. Pixels that touch at a corner belong together
(8-connected). Boxes are (x0, y0, x1, y1) in pixels with x1 and y1 exclusive, so that
``mask[y0:y1, x0:x1]`` is the crop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lib.errors import PromptError

Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def as_mask(mask: NDArray[Any], name: str = "mask") -> Mask:
    """Turn an (H, W) array into a boolean mask; every value but 0 is foreground.

    Raises:
        PromptError: the array is not two-dimensional or has no pixel.
    """
    array = np.asarray(mask)
    if array.ndim != 2 or array.size == 0:
        raise PromptError(
            got=f"{name} of shape {array.shape}",
            allowed="a two-dimensional mask (rows, columns)",
            todo="pass the mask of one object on one slice",
        )
    return array if array.dtype == np.bool_ else array != 0


def bounding_box(mask: Mask) -> Box:
    """Smallest box around all foreground pixels of ``mask`` (H, W).

    Raises:
        PromptError: the mask is empty.
    """
    columns = np.flatnonzero(mask.any(axis=0))
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        raise PromptError(
            got="an empty mask",
            allowed="a mask with at least one foreground pixel",
            todo="leave out objects that are not on this slice",
        )
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def component_areas(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Label the components of ``mask`` (H, W) in raster order.

    Returns:
        labels (H, W), 0 for background and 1..n for the components in the order in which a scan
        along the rows meets them; areas (n,) in pixels, ``areas[i]`` of label ``i + 1``.
    """
    labels, count = ndimage.label(mask, structure=_EIGHT_NEIGHBOURS)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return labels, areas


def component_boxes(mask: Mask) -> tuple[list[Box], NDArray[np.int64]]:
    """Boxes and areas (pixels) of all components of ``mask`` (H, W), in raster order."""
    labels, areas = component_areas(mask)
    found = ndimage.find_objects(labels)
    boxes = [(cols.start, rows.start, cols.stop, rows.stop) for rows, cols in found]
    return boxes, areas


def largest_component(mask: Mask) -> tuple[Mask, int]:
    """The largest component of ``mask`` (H, W) and its area; of equals, the first in raster order.

    An empty mask gives an empty mask and the area 0.
    """
    if not mask.any():
        return np.zeros_like(mask), 0
    x0, y0, x1, y1 = bounding_box(mask)
    labels, areas = component_areas(mask[y0:y1, x0:x1])
    best = int(np.argmax(areas))
    component = np.zeros_like(mask)
    component[y0:y1, x0:x1] = labels == best + 1
    return component, int(areas[best])

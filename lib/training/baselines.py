"""What one gets without any network: a figure means something only beside these.

* The ellipse inscribed in the exact box, for boxes.
* Seeded region growing, for clicks: all that is connected with a foreground click and has about its
  grey value, less what background clicks give; what both give goes to the nearest click (after
  Adams and Bischof, Seeded region growing, 1994, with a fixed tolerance).

Both are deterministic and cost milliseconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lib.inference.predictor import Prediction
from lib.inference.segmenter import SegmentResult, Timings
from lib.prompts.prompt import Box, Prompt
from lib.prompts.simulate import FOREGROUND
from lib.training.evaluate import Ask

Mask = NDArray[np.bool_]

SMOOTHING = 1.0
"""Standard deviation in pixels: single noisy pixels must not stop the growth."""
TOLERANCE = 24.0
"""Grey values of 255 by which a region may differ from its seed."""


def ellipse_in_box(box: Box, height: int, width: int) -> Mask:
    """The ellipse that touches all sides of a box.

    Args:
        box: (x0, y0, x1, y1) in pixels, x1 and y1 exclusive.
        height: rows of the image.
        width: columns of it.

    Returns:
        (height, width) bool; a pixel counts by its centre.
    """
    x0, y0, x1, y1 = box
    rows, columns = np.ogrid[:height, :width]
    across = (columns + 0.5 - (x0 + x1) / 2) / max((x1 - x0) / 2, 1e-9)
    down = (rows + 0.5 - (y0 + y1) / 2) / max((y1 - y0) / 2, 1e-9)
    return np.asarray(across**2 + down**2 <= 1.0)


class RegionGrower:
    """Grows regions in one image; what grew from a pixel before is remembered.

    Not for several threads at once.

    Args:
        grey: (H, W) or (H, W, 3), as the network sees the image.
        tolerance: see `TOLERANCE`.
    """

    def __init__(self, grey: NDArray[np.uint8], tolerance: float = TOLERANCE) -> None:
        values = grey.astype(np.float32)
        if values.ndim == 3:
            values = values.mean(axis=2)
        self._values: NDArray[np.float32] = ndimage.gaussian_filter(values, SMOOTHING)
        self._tolerance = tolerance
        self._regions: dict[tuple[int, int], Mask] = {}

    def mask(self, prompt: Prompt) -> Mask:
        """What grows from the clicks of a prompt.

        Args:
            prompt: points in pixels of the image; a box cuts the result off.

        Returns:
            (H, W) bool; the clicked pixels have the side they were clicked for.
        """
        inside = np.zeros(self._values.shape, dtype=np.bool_)
        outside = np.zeros_like(inside)
        for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
            region = self._region(round(y), round(x))
            (inside if label == FOREGROUND else outside)[region] = True
        mask = inside & ~outside
        both = inside & outside
        if both.any():
            mask[both] = self._nearest(both, prompt) == FOREGROUND
        for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
            mask[round(y), round(x)] = label == FOREGROUND
        if prompt.box is not None:
            mask &= _in_box(prompt.box, mask.shape)
        return mask

    def _nearest(self, where: Mask, prompt: Prompt) -> NDArray[np.int64]:
        """For the pixels of a mask the label of the click nearest to each."""
        rows, columns = np.nonzero(where)
        clicks = np.array(prompt.points, dtype=np.float64).reshape(-1, 2)
        distances = [(columns - x) ** 2 + (rows - y) ** 2 for x, y in clicks]
        labels = np.asarray(prompt.labels, dtype=np.int64)
        return np.asarray(labels[np.argmin(distances, axis=0)])

    def _region(self, row: int, column: int) -> Mask:
        if (row, column) not in self._regions:
            alike = np.abs(self._values - self._values[row, column]) <= self._tolerance
            parts, _ = ndimage.label(alike, structure=np.ones((3, 3)))
            self._regions[row, column] = parts == parts[row, column]
        return self._regions[row, column]


def grown_region(grey: NDArray[np.uint8], prompt: Prompt, tolerance: float = TOLERANCE) -> Mask:
    """As `RegionGrower.mask`, once."""
    return RegionGrower(grey, tolerance).mask(prompt)


def ask_without_network(grey: NDArray[np.uint8]) -> Ask:
    """What answers prompts on an image without any network, for `lib.training.evaluate.annotate`.

    Args:
        grey: (H, W) or (H, W, 3) uint8.
    """
    height, width = grey.shape[:2]
    grower = RegionGrower(grey)
    nothing = np.zeros((1, 1, 1), dtype=np.float32)

    def ask(prompt: Prompt) -> SegmentResult:
        if prompt.box is not None and not prompt.points:
            mask = ellipse_in_box(prompt.box, height, width)
        else:
            mask = grower.mask(prompt)
        logits = np.where(mask, np.float32(1), np.float32(-1))
        prediction = Prediction(mask, logits, 0.0, nothing)
        return SegmentResult(prediction, Timings(0.0, 0.0, 0.0, 0.0), "no network", True)

    return ask


def _in_box(box: Box, shape: tuple[int, ...]) -> Mask:
    x0, y0, x1, y1 = box
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    centres = (
        (columns + 0.5 >= x0) & (columns + 0.5 <= x1) & (rows + 0.5 >= y0) & (rows + 0.5 <= y1)
    )
    return np.asarray(centres)

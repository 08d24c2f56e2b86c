"""How far an answer on one slice can be the object of the slice before it.

The usual failure is a mask that slides from the end of an organ into the next one, where the
network is as sure of itself as before. Three questions are asked, each answered by 0..1, and the
confidence is their product:

* how good does the network find its mask (predicted IoU),
* how far does it agree with the neighbouring mask (overlap; a jump in area lowers it too),
* how far are its grey values those of the object on the slice that the user prompted. Of all that
  was tried this one tells best where an object has ended.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit

from lib.imaging.geometry import resize_image
from lib.inference.decoder import LowRes
from lib.inference.view import SliceView

GREY_BINS = 32
"""Of the 256 grey levels that the network sees, so eight levels a bin."""

GRID = 64
"""Pixels along a side of the network's masks."""

Grey = NDArray[np.uint8]
Histogram = NDArray[np.float64]


@dataclass(frozen=True)
class Judgement:
    """Of one answer on one slice; all in 0..1.

    Attributes:
        iou: what the network says of its own mask.
        agreement: overlap with the mask of the neighbouring slice.
        similarity: of grey values to those of the prompted object.
    """

    iou: float
    agreement: float = 1.0
    similarity: float = 1.0

    @property
    def confidence(self) -> float:
        """All three together."""
        return self.iou * self.agreement * self.similarity


def judge(answer: LowRes, neighbour: LowRes, grey: Grey, reference: Histogram) -> Judgement:
    """Compare an answer with the object it should continue.

    Args:
        answer: on this slice.
        neighbour: on the slice before it.
        grey: this slice, from `grey_values`.
        reference: of the prompted object, from `histogram`.
    """
    similarity = float(np.minimum(histogram(grey, answer), reference).sum())
    return Judgement(trust(answer), overlap(answer, neighbour), similarity)


def trust(answer: LowRes) -> float:
    """The network's own estimate of its IoU as a number in 0..1; 0 where it is none."""
    return float(np.clip(np.nan_to_num(answer.iou, nan=0.0), 0.0, 1.0))


def overlap(first: LowRes, second: LowRes) -> float:
    """Dice of two masks of probabilities, 0..1, with the smaller one as what both have."""
    p, q = expit(first.logits), expit(second.logits)
    return float(2 * np.minimum(p, q).sum() / max(float(p.sum() + q.sum()), 1e-6))


def grey_values(view: SliceView) -> Grey:
    """The slice (GRID, GRID) as 8 bit grey on the grid of the network's masks.

    Raises:
        ImageError: pixels that are no image.
    """
    grey = np.ascontiguousarray(view.image8()[:, :, 1])  # grey images have three equal channels
    return np.asarray(resize_image(grey, GRID, mode="area"), dtype=np.uint8)


def histogram(grey: Grey, answer: LowRes) -> Histogram:
    """Shares of the grey values inside a mask (GREY_BINS,); zeros for an empty one.

    Smoothed by one bin, so that two small masks of one tissue are alike.
    """
    inside = answer.logits[0] > 0
    counts = np.bincount(grey[inside] // (256 // GREY_BINS), minlength=GREY_BINS).astype(float)
    smooth = ndimage.gaussian_filter1d(counts, 1.0, mode="nearest")
    return np.asarray(smooth / max(float(smooth.sum()), 1e-9))

"""Objects that nobody drew: segments of real images, found by watersheds and by thresholds.

A network that learns to outline such segments from a click meets real textures, noise and edges
far more often than the few labelled images allow. A segment is used when it is compact and
differs from what surrounds it nearly all the way round.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

Image8 = NDArray[np.uint8]
Labels = NDArray[np.integer[Any]]

SIDE = 256
"""Segments are looked for in the image at this size; finer ones are noise."""


@dataclass(frozen=True)
class RegionPlan:
    """Which segments are used.

    Attributes:
        blurs: standard deviations of the blur before, pixels; segmented anew after each.
        depths: of the basins that are merged with their neighbours, as a share of the spread of
            the gradient; one watershed for each.
        levels: grey values to cut at, as shares of the way from the darkest to the brightest.
        smallest, largest: share of the image.
        compactness: smallest 4 pi area / perimeter^2.
        contrast: smallest difference of the ring around from the mean inside, grey values.
        contrast_spread: the same, as a multiple of the standard deviation inside.
        closed: share of the ring that must differ so, all to the same side.
    """

    blurs: tuple[float, ...] = (0.8, 2.0)
    depths: tuple[float, ...] = (0.5, 1.5)
    levels: tuple[float, ...] = (0.2, 0.35, 0.5, 0.65, 0.8)
    smallest: float = 0.0025
    largest: float = 0.5
    compactness: float = 0.22
    contrast: float = 8.0
    contrast_spread: float = 0.8
    closed: float = 0.8


def find_regions(image: Image8, plan: RegionPlan | None = None) -> NDArray[np.bool_]:
    """All usable segments of an image.

    Args:
        image: (H, W) or (H, W, 3), as it is displayed, about `SIDE` pixels long.
        plan: which segments are used; None: the defaults.

    Returns:
        (N, H, W) bool, each connected; N may be 0. Segments of different scales overlap.
    """
    plan = plan or RegionPlan()
    channels = image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0)
    found: list[NDArray[np.bool_]] = []
    for sigma in plan.blurs:
        soft = np.stack([ndimage.gaussian_filter(c.astype(np.float32), sigma) for c in channels])
        grey = soft.mean(axis=0)
        for labels in (*_watersheds(soft, plan), *_cuts(grey, plan)):
            found.extend(_usable(labels, grey, plan))
    return _unlike(found, image.shape[:2])


def _watersheds(soft: NDArray[np.float32], plan: RegionPlan) -> Iterator[Labels]:
    slopes = [ndimage.sobel(soft, axis) for axis in (1, 2)]
    # Whole numbers: the watershed is three times as fast on them.
    gradient = np.sqrt((slopes[0] ** 2 + slopes[1] ** 2).max(axis=0)).astype(np.uint16)
    spread = float(gradient.std())
    for depth in plan.depths if spread > 0 else ():
        basins = sitk.MorphologicalWatershed(  # type: ignore[no-untyped-call]
            sitk.GetImageFromArray(gradient), depth * spread, False, False
        )
        yield sitk.GetArrayFromImage(basins)


def _cuts(grey: NDArray[np.float32], plan: RegionPlan) -> Iterator[Labels]:
    low, high = np.percentile(grey, [1, 99])
    for level in plan.levels:
        bright = grey > low + level * (high - low)
        yield ndimage.label(bright)[0]
        yield ndimage.label(~bright)[0]


def _usable(labels: Labels, grey: NDArray[np.float32], plan: RegionPlan) -> list[NDArray[np.bool_]]:
    """The segments of one segmentation that fit the plan, holes filled."""
    areas = np.bincount(labels.ravel()) / labels.size
    kept = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None or not plan.smallest <= areas[number] <= plan.largest:
            continue
        ends = ((s.start > 0, s.stop < n) for s, n in zip(box, labels.shape, strict=True))
        if sum(not free for pair in ends for free in pair) > 2:
            continue  # on three sides of the frame: what is behind everything
        wide = tuple(slice(max(0, s.start - 4), s.stop + 4) for s in box)
        part = ndimage.binary_fill_holes(labels[wide] == number)
        part = ndimage.binary_opening(part, iterations=1)
        area = np.count_nonzero(part)
        if area < plan.smallest * labels.size or ndimage.label(part)[1] != 1:
            continue
        if _compactness(part, area) < plan.compactness or not _stands_out(part, grey[wide], plan):
            continue
        mask = np.zeros(labels.shape, np.bool_)
        mask[wide] = part
        kept.append(mask)
    return kept


def _compactness(part: NDArray[np.bool_], area: int) -> float:
    """4 pi area / perimeter^2: 1 for a disc, lower the more ragged or elongated."""
    padded = np.pad(part, 1)
    edges = np.count_nonzero(padded[1:] != padded[:-1]) + np.count_nonzero(
        padded[:, 1:] != padded[:, :-1]
    )
    perimeter = edges * np.pi / 4  # pixel edges overstate a smooth outline by 4/pi
    return float(4 * np.pi * area / perimeter**2)


def _stands_out(part: NDArray[np.bool_], grey: NDArray[np.float32], plan: RegionPlan) -> bool:
    near = ndimage.binary_dilation(part, iterations=1)
    ring = ndimage.binary_dilation(near, iterations=2) & ~near
    if np.count_nonzero(ring) < 8:
        return False
    inside = grey[part]
    step = grey[ring] - inside.mean()
    least = max(plan.contrast, plan.contrast_spread * float(inside.std()))
    return bool(np.mean(np.sign(np.median(step)) * step > least) >= plan.closed)


def _unlike(found: list[NDArray[np.bool_]], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Without those that nearly equal (IoU above 0.8) an earlier one."""
    kept: list[NDArray[np.bool_]] = []
    areas: list[int] = []
    for mask in found:
        area = np.count_nonzero(mask)
        near = (m for m, a in zip(kept, areas, strict=True) if 0.8 * a < area < 1.25 * a)
        if all(np.count_nonzero(m & mask) < 0.8 * np.count_nonzero(m | mask) for m in near):
            kept.append(mask)
            areas.append(area)
    return np.array(kept, dtype=np.bool_).reshape(-1, *shape)

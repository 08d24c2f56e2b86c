"""Random changes of a labelled 2D image that keep it plausible: geometry and intensity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lib.imaging.geometry import resize_image
from lib.imaging.intensity import Window, choose_window, to_uint8

Image8 = NDArray[np.uint8]
Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class Augmentation:
    """How strongly an image is changed.

    Attributes:
        crop_share: how often a part of the image is cut out around one object.
        min_crop: smallest side of that part, as a share of the image's.
        window_jitter: standard deviation of the shift of both window ends, as a share of its width.
        gamma: the exponent is drawn log-uniformly from 1/gamma .. gamma.
        noise: largest standard deviation of added Gaussian noise, in grey values.
        invert_share: how often grey values are inverted.
        shrink_share: how often the image is shown smaller, with a dark border around it.
        min_shrink: smallest side it then has, as a share of the frame's.
    """

    crop_share: float = 0.6
    min_crop: float = 0.35
    window_jitter: float = 0.1
    gamma: float = 1.4
    noise: float = 8.0
    invert_share: float = 0.1
    shrink_share: float = 0.0
    min_shrink: float = 0.5


def augment(
    image: NDArray[np.generic],
    masks: Masks,
    size: int,
    rng: np.random.Generator,
    plan: Augmentation,
    modality: str | None = None,
    body_part: str | None = None,
) -> tuple[Image8, Masks]:
    """One random variant of an image.

    Args:
        image: (H, W) or (H, W, 3), native intensities.
        masks: (N, H, W) bool.
        size: edge length of the result.
        rng: source of all random choices.
        plan: how strongly to change it.
        modality: DICOM Modality, None where unknown; with ``body_part`` it chooses the window.
        body_part: DICOM BodyPartExamined, None where unknown.

    Returns:
        (size, size, 3) uint8 and (N, size, size) bool; masks may have become empty by the crop.
    """
    window = choose_window(image, "auto", modality, body_part)
    grey8 = _random_window(image, window, rng, plan)
    if rng.random() < plan.crop_share:
        grey8, masks = _random_crop(grey8, masks, rng, plan)
    elif plan.shrink_share and rng.random() < plan.shrink_share:
        grey8, masks = _random_border(grey8, masks, rng, plan)
    grey8, masks = _random_flip(grey8, masks, rng)
    picture = resize_image(grey8, size, mode="area")
    rows, columns = (np.arange(size) * n // size for n in masks.shape[1:])
    masks = masks[:, rows][:, :, columns]
    picture = _random_tone(picture, rng, plan)
    return (picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)), masks


def _random_window(
    image: NDArray[np.generic], window: Window, rng: np.random.Generator, plan: Augmentation
) -> Image8:
    if image.ndim == 3 and image.dtype == np.uint8:
        return image.astype(np.uint8)
    shift = rng.normal(0.0, plan.window_jitter, size=2) * (window.upper - window.lower)
    lower, upper = window.lower + shift[0], window.upper + shift[1]
    if lower >= upper:
        lower, upper = window.lower, window.upper
    return to_uint8(image, type(window)(float(lower), float(upper)))


def _random_crop(
    image: Image8, masks: Masks, rng: np.random.Generator, plan: Augmentation
) -> tuple[Image8, Masks]:
    """A random part that contains all of one object."""
    rows, columns = np.nonzero(masks[rng.integers(len(masks))])
    if not len(rows):
        return image, masks
    spans = []
    for extent, positions in zip(image.shape[:2], (rows, columns), strict=True):
        first, last = int(positions.min()), int(positions.max()) + 1
        shortest = min(extent, max(last - first + 4, int(plan.min_crop * extent)))
        length = int(rng.integers(shortest, extent + 1))
        start = int(rng.integers(max(0, last - length), min(first, extent - length) + 1))
        spans.append(slice(start, start + length))
    return image[spans[0], spans[1]], masks[:, spans[0], spans[1]]


def _random_border(
    image: Image8, masks: Masks, rng: np.random.Generator, plan: Augmentation
) -> tuple[Image8, Masks]:
    """The image somewhere in a larger frame, which makes its objects smaller."""
    scale = float(rng.uniform(plan.min_shrink, 1.0))
    pads = []
    for extent in image.shape[:2]:
        border = round(extent / scale) - extent
        before = int(rng.integers(border + 1))
        pads.append((before, border - before))
    wide = [*pads, *[(0, 0)] * (image.ndim - 2)]
    darkest = int(np.percentile(image, 1))
    framed = np.pad(image, wide, constant_values=darkest).astype(np.uint8)
    return framed, np.pad(masks, [(0, 0), *pads])


def _random_flip(image: Image8, masks: Masks, rng: np.random.Generator) -> tuple[Image8, Masks]:
    if rng.random() < 0.5:
        image, masks = image[:, ::-1], masks[:, :, ::-1]
    if rng.random() < 0.3:
        image, masks = image[::-1], masks[:, ::-1]
    if rng.random() < 0.3:
        image, masks = image.swapaxes(0, 1), masks.swapaxes(1, 2)
    return image, masks


def _random_tone(image: Image8, rng: np.random.Generator, plan: Augmentation) -> Image8:
    """Gamma, blur, noise and inversion."""
    grey = np.asarray(image, dtype=np.float32)
    exponent = plan.gamma ** rng.uniform(-1, 1)
    grey = 255.0 * (grey / 255.0) ** np.float32(exponent)
    if rng.random() < 0.2:
        sigma = float(rng.uniform(0.4, 1.2))
        grey = ndimage.gaussian_filter(grey, (sigma, sigma) + (0,) * (grey.ndim - 2))
    if rng.random() < 0.5:
        shape = grey.shape[:2] + (1,) * (grey.ndim - 2)
        noise = rng.standard_normal(shape, dtype=np.float32)
        grey = grey + noise * np.float32(rng.uniform(0, plan.noise))
    if rng.random() < plan.invert_share:
        grey = 255.0 - grey
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)

"""From native intensities (Hounsfield units, MR counts, 16 bit) to the 8 bit a SAM network sees.

Which grey values are worth showing depends on the image:

* A CT is shown through a clinical window. An image counts as CT when its Modality says so, or,
  where nothing is stated, when its values look like Hounsfield units (`looks_like_ct`). Which
  window depends on BodyPartExamined.
* Everything else is stretched between percentiles of its own slice.
* ``minmax`` is the recipe of the SA-Med2D data: every slice of the published demo images runs from
  0 to 254 exactly, which (x - min) / (max - min + eps) * 255, truncated, reproduces.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.errors import ImageError, OptionError
from lib.imaging.grid import Array
from lib.options import INTENSITIES

PERCENTILES = (0.5, 99.5)
BACKGROUND_SHARE = 0.25
"""A gap below the darkest tissue takes at most this share of the tissue's range, see `_stretch`."""


@dataclass(frozen=True)
class Window:
    """Grey values shown as black (lower, and everything below) and white (upper and above)."""

    lower: float
    upper: float

    def __post_init__(self) -> None:
        """Refuse ends that are not finite or in the wrong order (ValueError)."""
        if not (np.isfinite(self.lower) and np.isfinite(self.upper) and self.lower <= self.upper):
            raise ValueError(f"window from {self.lower} to {self.upper}")

    @classmethod
    def at(cls, width: float, level: float) -> Window:
        """The window as a radiologist says it: width and level (centre), in HU."""
        return cls(level - width / 2, level + width / 2)


CT_WINDOWS: dict[str, Window] = {
    "soft_tissue": Window.at(width=400, level=40),
    "lung": Window.at(width=1500, level=-600),
    "bone": Window.at(width=1800, level=400),
    "brain": Window.at(width=80, level=40),
}

# First match wins; NECK before HEAD, because a brain window shows nothing of a "HEADNECK" scan,
# and SKULL or SPINE before HEAD for "SKULL" and "HEADCSPINE".
_WINDOW_OF_BODY_PART: tuple[tuple[str, str], ...] = (
    (r"NECK", "soft_tissue"),
    (
        r"SKULL|SPINE|VERTEBRA|BONE|SKELET|HAND|FOOT|FEET|FINGER|THUMB|TOE|WRIST|ELBOW"
        r"|SHOULDER|KNEE|ANKLE|FEMUR|TIBIA|FIBULA|HUMERUS|RADIUS|ULNA|CLAVICLE|SCAPULA|MANDIBLE"
        r"|SACRUM|COCCYX|\bHIPS?\b|\bRIBS?\b|\bJAW\b|TEMPORAL",
        "bone",
    ),
    (r"HEAD|BRAIN|CEREBR", "brain"),
    (r"LUNG", "lung"),
)


def looks_like_ct(image: Array) -> bool:
    """Whether the values look like Hounsfield units: min <= -200 and max > 100.

    Air (-1000) or lung lies in almost every CT and water-like tissue above 0 in all of them; MR,
    ultrasound and X-ray files hold no negative numbers of that size. A CT that was cropped around
    soft tissue has no air left and is missed on purpose: percentiles show it as well as a window.
    Unsigned and colour images are never CT.
    """
    if image.dtype.kind not in "if" or image.ndim == 4 or image.size == 0:
        return False
    lowest, highest = _finite_range(image)
    return lowest <= -200 and highest > 100


def choose_window(
    image: Array,
    intensity: str = "auto",
    modality: str | None = None,
    body_part: str | None = None,
) -> Window:
    """The grey values of one image to show.

    Args:
        image: (H, W) or (H, W, 3), native intensities; NaN and infinite pixels do not count. The
            channels of a colour image share one window.
        intensity: auto, soft_tissue, lung, bone, brain, percentile or minmax.
        modality: DICOM Modality, None where unknown; looked at by ``auto`` only.
        body_part: DICOM BodyPartExamined, None where unknown; looked at by ``auto`` only.

    Returns:
        The window; lower equals upper for a constant image.

    Raises:
        OptionError: a name that is no intensity.
        ImageError: an image without a finite pixel.
    """
    if intensity not in INTENSITIES:
        raise OptionError(
            got=f"intensity {intensity!r}",
            allowed=", ".join(INTENSITIES),
            todo="choose one of these",
        )
    if intensity in CT_WINDOWS:
        return CT_WINDOWS[intensity]
    if intensity == "minmax":
        return Window(*_finite_range(image))
    if intensity == "auto" and image.ndim == 2:
        stated = (modality or "").strip().upper()
        # Without negative numbers a "CT" holds no Hounsfield units: raw counts, a screenshot.
        is_ct = stated == "CT" and image.dtype.kind in "if"
        if is_ct or (not stated and looks_like_ct(image)):
            return CT_WINDOWS[_window_name(body_part)]
    return _stretch(image)


def to_uint8(image: Array, window: Window) -> npt.NDArray[np.uint8]:
    """Image of any shape as 8 bit: lower -> 0, upper -> 255, rounded; the same shape.

    NaN becomes 0. A window without width (constant image) gives zeros.
    """
    width = window.upper - window.lower
    if width == 0:
        return np.zeros(image.shape, dtype=np.uint8)
    exact = image.dtype.itemsize <= 2 or image.dtype == np.float32
    grey: npt.NDArray[Any] = image.astype(np.float32 if exact else np.float64)
    grey -= window.lower
    grey *= 255.0 / width
    np.clip(grey, 0, 255, out=grey)
    if image.dtype.kind == "f":
        np.nan_to_num(grey, copy=False, nan=0.0)
    rounded: npt.NDArray[np.uint8] = np.rint(grey).astype(np.uint8)
    return rounded


def normalise_slice(
    image: Array,
    intensity: str = "auto",
    modality: str | None = None,
    body_part: str | None = None,
) -> npt.NDArray[np.uint8]:
    """One slice as the network's 8 bit RGB input.

    Args:
        image: (H, W) grey or (H, W, 3) colour, native intensities.
        intensity: see `choose_window`; 8 bit colour is returned as it is by ``auto``.
        modality: DICOM Modality, None where unknown.
        body_part: DICOM BodyPartExamined, None where unknown.

    Returns:
        (H, W, 3) uint8; grey images have three equal channels.

    Raises:
        ImageError: a shape that is no image, or no finite pixel.
        OptionError: a name that is no intensity.
    """
    if image.ndim not in (2, 3) or image.size == 0 or (image.ndim == 3 and image.shape[2] != 3):
        raise ImageError(
            got=f"an image of shape {image.shape}",
            allowed="(H, W) or (H, W, 3) with at least one pixel",
            todo="pass one 2D slice",
        )
    if image.ndim == 3 and image.dtype == np.uint8 and intensity == "auto":
        return image.astype(np.uint8)
    window = choose_window(image, intensity, modality, body_part)
    grey = _truncated(image, window) if intensity == "minmax" else to_uint8(image, window)
    return grey if grey.ndim == 3 else np.repeat(grey[:, :, None], 3, axis=2)


def _window_name(body_part: str | None) -> str:
    words = re.sub(r"[^A-Z]+", " ", (body_part or "").upper())
    for pattern, name in _WINDOW_OF_BODY_PART:
        if re.search(pattern, words):
            return name
    return "soft_tissue"


def _truncated(image: Array, window: Window) -> npt.NDArray[np.uint8]:
    """The arithmetic of the published data: 0 to 254, never 255, because the width is a bit more.

    In float64 and with a relative eps, so that this holds for wide and for narrow ranges.
    """
    width = (window.upper - window.lower) * (1 + 1e-10)
    if width == 0:
        return np.zeros(image.shape, dtype=np.uint8)
    grey = np.clip((image.astype(np.float64) - window.lower) / width * 255, 0, 254)
    truncated: npt.NDArray[np.uint8] = np.nan_to_num(grey, nan=0.0).astype(np.uint8)
    return truncated


def _finite_range(image: Array) -> tuple[float, float]:
    """Smallest and largest finite value."""
    lowest, highest = float(image.min()), float(image.max())
    if np.isfinite(lowest) and np.isfinite(highest):
        return lowest, highest
    values = _finite(image)
    return float(values.min()), float(values.max())


def _finite(image: Array) -> Array:
    values = image[np.isfinite(image)] if image.dtype.kind == "f" else image.ravel()
    if values.size == 0:
        raise ImageError(
            got="an image without a finite pixel",
            allowed="at least one pixel that is a number",
            todo="choose another slice or export the image again",
        )
    return values


def _stretch(image: Array) -> Window:
    """Percentiles of the slice that survive large empty backgrounds.

    The pixels with the slice's lowest value (black background, padding) are left out of the upper
    end, so that a small bright object is not lost among them. The lower end is that of all
    pixels, unless the background lies far below the darkest tissue (padding of -32768): then the
    gap may take a quarter of the tissue's range and no more. A binary or constant image falls
    back to its minimum and maximum.
    """
    # Sorted once for all percentiles; "stable" is a radix sort for 8 and 16 bit, ten times faster.
    values = np.sort(_finite(image), kind="stable" if image.dtype.itemsize <= 2 else None)
    lowest, highest = float(values[0]), float(values[-1])
    foreground = values[np.searchsorted(values, values[0], side="right") :]
    if foreground.size == 0:
        return Window(lowest, highest)
    dark, bright = (_percentile(foreground, share) for share in PERCENTILES)
    gap = dark - BACKGROUND_SHARE * (bright - dark)
    lower, upper = max(_percentile(values, PERCENTILES[0]), gap), bright
    return Window(lower, upper) if dark < bright and lower < upper else Window(lowest, highest)


def _percentile(ascending: Array, share: float) -> float:
    """Percentile of sorted values, linear between neighbours as `numpy.percentile`."""
    place = share / 100 * (ascending.size - 1)
    below = int(place)
    above = min(below + 1, ascending.size - 1)
    low, high = float(ascending[below]), float(ascending[above])
    return low + (place - below) * (high - low)

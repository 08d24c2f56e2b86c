"""What a scanner, probe or camera does to a scene: blur, noise, bias, streaks, display window.

All functions take and return float32 (H, W) unless they say otherwise, and draw from the given
generator alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.data.random_fields import Field, fractal_field, smooth_field, soft_noise

Image8 = npt.NDArray[np.uint8]
"""A uint8 image, (H, W) or (H, W, 3)."""


def blur(image: Field, sigma: float) -> Field:
    """Gaussian blur; ``sigma`` in pixels, nothing below 0.3."""
    if sigma < 0.3:
        return image
    return np.asarray(
        ndimage.gaussian_filter(image, sigma, truncate=2.5, mode="nearest"), np.float32
    )


def soften(planes: Field, sigma: float) -> Field:
    """Gaussian blur of each plane of (C, H, W); ``sigma`` in pixels, nothing below 0.3."""
    return planes if sigma < 0.3 else np.stack([blur(plane, sigma) for plane in planes])


def colour_image(planes: npt.NDArray[np.floating[Any]]) -> Image8:
    """An image (H, W, 3) from planes (3, H, W) of 0..255, clipped; fractions are cut off."""
    return np.ascontiguousarray(np.moveaxis(np.clip(planes, 0, 255).astype(np.uint8), 0, 2))


def window(image: Field, lower: float, upper: float) -> Image8:
    """Linear display window: ``lower`` -> 0, ``upper`` -> 255, clipped."""
    scaled = (image - np.float32(lower)) * np.float32(255.0 / max(upper - lower, 1e-6))
    return np.clip(scaled + 0.5, 0, 255).astype(np.uint8)


def stretch(image: Field, low: float = 1.0, high: float = 99.0) -> Image8:
    """Percentile display window, read from every fourth pixel."""
    lower, upper = np.percentile(image[::2, ::2], [low, high])
    return window(image, float(lower), float(upper))


def ct_window(rng: np.random.Generator, kind: str) -> tuple[float, float]:
    """A display window (lower, upper) in HU, as a viewer would choose for ``abdomen``/``chest``.

    Mostly soft tissue (W400 L40), sometimes lung, bone, narrow or the full range.
    """
    chance = rng.random()
    lung = 0.35 if kind == "chest" else 0.05
    if chance < lung:
        width, centre = rng.uniform(1200, 1800), rng.uniform(-650, -450)
    elif chance < lung + 0.08:
        width, centre = rng.uniform(1200, 2200), rng.uniform(250, 450)
    elif chance < lung + 0.16:
        width, centre = rng.uniform(1500, 2600), rng.uniform(-200, 200)
    elif chance < lung + 0.24:
        width, centre = rng.uniform(150, 300), rng.uniform(20, 90)
    else:
        width, centre = rng.uniform(340, 520), rng.uniform(20, 80)
    return centre - width / 2, centre + width / 2


def ct_noise(rng: np.random.Generator, image: Field, sigma: float) -> Field:
    """CT noise of ``sigma`` HU: grainy, correlated over neighbours."""
    height, width = image.shape
    return image + np.float32(sigma) * soft_noise(rng, height, width, float(rng.uniform(0.3, 1)))


def rician(rng: np.random.Generator, image: Field, sigma: float) -> Field:
    """Magnitude of a signal with Gaussian noise in both channels (Gudbjartsson & Patz 1995)."""
    real = image + np.float32(sigma) * rng.standard_normal(image.shape, np.float32)
    imaginary = np.float32(sigma) * rng.standard_normal(image.shape, np.float32)
    return np.hypot(real, imaginary)


def bias_field(rng: np.random.Generator, height: int, width: int, strength: float) -> Field:
    """A smooth gain around 1, as a receive coil gives; ``strength`` is the log spread."""
    log_gain = smooth_field(rng, height, width, max(height, width) / 1.5)
    return np.asarray(np.exp(np.float32(strength) * log_gain), np.float32)


def streaks(rng: np.random.Generator, height: int, width: int, amplitude: float) -> Field:
    """Streaks that fan out from one dense spot, as metal gives in CT; mean about 0."""
    spot = rng.uniform(0.25, 0.75, 2) * (height, width)
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(spot[0])
    x = np.arange(width, dtype=np.float32)[None, :] - np.float32(spot[1])
    angle = np.arctan2(y, x)
    rays = np.zeros((height, width), np.float32)
    for order in rng.integers(3, 40, 4):
        rays += np.sin(np.float32(2 * order) * angle + np.float32(rng.uniform(0, 6.3)))
    fall = np.exp(-np.hypot(x, y) / np.float32(rng.uniform(0.15, 0.5) * width))
    return np.asarray(amplitude * rays * fall, np.float32)


def grain(rng: np.random.Generator, image: Field, sigma: float, softness: float = 0.3) -> Field:
    """Camera or detector noise of ``sigma`` in the image's unit."""
    height, width = image.shape
    return image + np.float32(sigma) * soft_noise(rng, height, width, softness)


def texture(
    rng: np.random.Generator, image: Field, mask: npt.NDArray[np.bool_], scale: float, depth: float
) -> None:
    """Add fractal texture of ``depth`` to the masked pixels, in place."""
    height, width = image.shape
    pattern = fractal_field(rng, height, width, scale)
    image += np.float32(depth) * pattern * mask

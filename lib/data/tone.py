"""Random changes of the grey values or colours of an 8-bit image, strong and cheap.

Curves are tables of 256 entries; blur, resampling, JPEG and colour matrices are Pillow's.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from lib.data.random_fields import smooth_field, soft_noise

Image8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Toning:
    """How often an image is changed in which way.

    Attributes:
        curve_share: gamma, contrast and brightness.
        gamma: standard deviation of the logarithm of the exponent.
        invert_share: negatives.
        bias_share: a smooth gain over the image.
        noise_share: additive or multiplicative noise.
        noise: largest standard deviation of it, grey values.
        soften_share: blur, or sampling down and up again.
        jpeg_share: compression artefacts.
        tint_share: colours for a grey image.
        colour_share: mixed or swapped channels of a colour image.
        grey_share: a colour image shown without its colours.
    """

    curve_share: float = 0.7
    gamma: float = 0.3
    invert_share: float = 0.06
    bias_share: float = 0.2
    noise_share: float = 0.35
    noise: float = 20.0
    soften_share: float = 0.25
    jpeg_share: float = 0.08
    tint_share: float = 0.08
    colour_share: float = 0.5
    grey_share: float = 0.08


def retone(image: Image8, rng: np.random.Generator, plan: Toning) -> Image8:
    """One random variant.

    Args:
        image: (H, W) or (H, W, 3).
        rng: source of all random choices.
        plan: how often which change is made.

    Returns:
        uint8 (H, W) or (H, W, 3).
    """
    if image.ndim == 3 and rng.random() < plan.grey_share:
        image = np.asarray(Image.fromarray(image).convert("L"))
    image = _curve(rng, plan)[image]
    if image.ndim == 3 and rng.random() < plan.colour_share:
        image = _recolour(image, rng)
    if rng.random() < plan.soften_share:
        image = _soften(image, rng)
    image = _disturb(image, rng, plan)
    if rng.random() < plan.jpeg_share:
        image = _compress(image, int(rng.integers(15, 70)))
    if image.ndim == 2 and rng.random() < plan.tint_share:
        image = _tint(image, rng)
    return image


def _curve(rng: np.random.Generator, plan: Toning) -> Image8:
    """Table of 256 new grey values."""
    values = np.linspace(0, 1, 256)
    if rng.random() < plan.curve_share:
        values = values ** np.exp(rng.normal(0, plan.gamma))
        gain, middle = np.exp(rng.normal(0, 0.2)), rng.uniform(0.3, 0.7)
        values = (values - middle) * gain + middle + rng.normal(0, 0.05)
    if rng.random() < plan.invert_share:
        values = 1 - values
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)


def _disturb(image: Image8, rng: np.random.Generator, plan: Toning) -> Image8:
    """Bias field and noise, in one pass over floats."""
    biased, noisy = rng.random() < plan.bias_share, rng.random() < plan.noise_share
    if not (biased or noisy):
        return image
    height, width = image.shape[:2]
    picture = image.astype(np.float32)
    gain = np.ones((height, width), np.float32)
    if biased:
        gain += np.float32(rng.uniform(0.05, 0.3)) * smooth_field(rng, height, width, height / 1.5)
    if noisy:
        sigma = np.float32(plan.noise * rng.random() ** 2)
        noise = sigma * soft_noise(rng, height, width, float(rng.uniform(0, 1)))
        if rng.random() < 0.3:
            gain += noise / np.float32(80)
        else:
            picture += noise if image.ndim == 2 else noise[..., None]
    picture *= gain if image.ndim == 2 else gain[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _soften(image: Image8, rng: np.random.Generator) -> Image8:
    picture = Image.fromarray(image)
    if rng.random() < 0.5:
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1.6)))))
    share = rng.uniform(0.3, 0.8)
    small = (max(8, int(picture.width * share)), max(8, int(picture.height * share)))
    how = (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
    coarse = picture.resize(small, Image.Resampling.BOX)
    return np.asarray(coarse.resize(picture.size, how[int(rng.choice(3, p=[0.15, 0.6, 0.25]))]))


def _compress(image: Image8, quality: int) -> Image8:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def _recolour(image: Image8, rng: np.random.Generator) -> Image8:
    """Mix the channels a little; now and then swap them."""
    matrix = np.eye(3) + rng.normal(0, 0.12, (3, 3))
    matrix *= np.exp(rng.normal(0, 0.1, (3, 1)))
    if rng.random() < 0.15:
        matrix = matrix[rng.permutation(3)]
    rows = np.concatenate([matrix, rng.normal(0, 8, (3, 1))], axis=1)
    picture = Image.fromarray(image).convert("RGB", tuple(float(v) for v in rows.ravel()))
    return np.asarray(picture)


def _tint(image: Image8, rng: np.random.Generator) -> Image8:
    """A colour for every grey value: a bent way from one colour to another."""
    t = np.linspace(0, 1, 256)[:, None]
    low, high = rng.uniform(0, 100, 3), rng.uniform(120, 255, 3)
    bend = rng.uniform(-60, 60, 3)
    table = np.clip(low + t * (high - low) + 4 * t * (1 - t) * bend, 0, 255).astype(np.uint8)
    return np.asarray(table[image])

"""Dermoscopy: a pigmented lesion on skin, with hair, a pigment net and the round field of view."""

from __future__ import annotations

import numpy as np

from lib.data.acquisition import Image8, blur, colour_image, grain
from lib.data.random_fields import Field, fractal_field, smooth_field
from lib.data.scene import Scene
from lib.data.stamps import blob_stamp


def _hair(rng: np.random.Generator, size: int) -> Field:
    """Darkening 0..1 (size, size) by curved hairs."""
    shade = np.zeros((size, size), np.float32)
    t = np.linspace(0, 1, size * 2)
    for _ in range(rng.integers(0, 14)):
        start, end, bend = rng.uniform(-0.2, 1.2, (3, 2)) * size
        way = (
            ((1 - t) ** 2)[:, None] * start
            + (2 * t * (1 - t))[:, None] * bend
            + (t**2)[:, None] * end
        )
        inside = np.all((way >= 0) & (way < size - 1), axis=1)
        x, y = way[inside].astype(int).T
        shade[y, x] = rng.uniform(0.4, 1)
        if rng.random() < 0.5:
            shade[y + 1, x] = 0.7
    return blur(shade, rng.uniform(0.4, 0.9))


def make_dermoscopy(rng: np.random.Generator, size: int) -> tuple[Image8, Scene]:
    """A random dermoscopic image (size, size, 3) and its scene (pigment, lesions)."""
    scene = Scene.blank(size, size)
    height = fractal_field(rng, size, size, size / 8)
    for _ in range(1 if rng.random() < 0.85 else 2):
        radius = rng.uniform(0.09, 0.34) * size
        centre = tuple(rng.normal(0.5, 0.1, 2).clip(0.2, 0.8) * size)
        radii = (radius * rng.uniform(0.9, 1.4), radius * rng.uniform(0.7, 1.1))
        stamp = blob_stamp(rng, (size, size), centre, radii, rng.uniform(0, 3), 0.14)
        level = stamp.level + np.float32(rng.uniform(0.02, 0.12)) * height[stamp.box]
        soft = rng.uniform(0.03, 0.22)
        pigment = 0.5 - 0.5 * np.tanh((level - 1.0) / np.float32(0.7 * soft))
        pigment *= 1.0 - np.float32(rng.uniform(-0.4, 0.5)) * np.clip(level, 0, 1)
        scene.values[stamp.box] = np.maximum(scene.values[stamp.box], pigment)
        scene.labels[stamp.box][level < 1.0] = scene.label_of("skin lesion")
    net = np.abs(smooth_field(rng, size, size, size / rng.uniform(25, 50)))
    amount = scene.values * (1.0 + np.float32(rng.uniform(0, 0.5)) * (0.6 - net))
    amount *= 1.0 + np.float32(rng.uniform(0.05, 0.35)) * height
    skin = np.asarray([rng.uniform(170, 240), rng.uniform(115, 190), rng.uniform(90, 180)])
    if rng.random() < 0.12:
        skin *= rng.uniform(0.45, 0.7)
    dark = skin * (rng.uniform(0.2, 0.75) + rng.normal(0, 0.05, 3)) * np.asarray([1.05, 0.95, 0.9])
    shade = 1.0 + 0.06 * smooth_field(rng, size, size, size / 2)
    shade += 0.03 * fractal_field(rng, size, size, size / 25)
    # Planes first: numpy is several times faster than with three channels last.
    planes = skin[:, None, None] + np.clip(amount, 0, 1.3) * (dark - skin)[:, None, None]
    planes *= shade
    planes *= 1.0 - 0.85 * _hair(rng, size)
    axis = (np.arange(size, dtype=np.float32) / size - 0.5) * 2
    off_axis = np.hypot(axis[:, None], axis[None, :])
    planes *= 1.0 - np.float32(rng.uniform(0, 0.35)) * off_axis**2
    if rng.random() < 0.25:
        lit = off_axis < rng.uniform(0.95, 1.15)
        planes[:, ~lit] = rng.uniform(0, 15)
        scene.labels[~lit] = 0
    noise = grain(rng, np.zeros((size, size), np.float32), rng.uniform(0.5, 6), 0.6)
    return colour_image(planes + noise), scene

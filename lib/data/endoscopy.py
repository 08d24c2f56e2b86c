"""Endoscopy: mucosa with folds, vessels and highlights; polyps and instruments in front of it."""

from __future__ import annotations

import numpy as np

from lib.data.acquisition import Image8, blur, colour_image, grain
from lib.data.random_fields import Field, fractal_field, smooth_field
from lib.data.scene import Scene
from lib.data.stamps import blob_stamp


def _polyps(rng: np.random.Generator, scene: Scene, relief: Field, tint: Field) -> None:
    """Raise one to three domes of mucosa; ``tint`` (H, W) shifts their colour."""
    size = relief.shape[0]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        radius = float(np.exp(rng.uniform(np.log(0.06), np.log(0.28)))) * size
        centre = tuple(rng.uniform(0.2, 0.8, 2) * size)
        radii = (radius * rng.uniform(0.9, 1.4), radius * rng.uniform(0.7, 1.1))
        stamp = blob_stamp(rng, (size, size), centre, radii, rng.uniform(0, 3), 0.08)
        inside = stamp.level < 1
        dome = np.maximum(1 - stamp.level**2, 0) * radius * rng.uniform(0.15, 0.6)
        relief[stamp.box] += dome
        tint[stamp.box][inside] = rng.uniform(-1, 1)
        shadow = (stamp.level >= 1) & (stamp.level < 1.12)
        tint[stamp.box][shadow] -= rng.uniform(0, 0.8)
        scene.labels[stamp.box][inside] = scene.label_of("polyp")


def _tool(rng: np.random.Generator, scene: Scene, picture: Field) -> None:
    """A metal shaft that enters from an edge; painted over the picture (3, H, W)."""
    size = scene.labels.shape[0]
    turn = rng.uniform(0, 6.3)
    tip = rng.uniform(0.35, 0.65, 2) * size
    x = np.arange(size, dtype=np.float32)[None, :] - np.float32(tip[0])
    y = np.arange(size, dtype=np.float32)[:, None] - np.float32(tip[1])
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    along, across = x * c + y * s, y * c - x * s
    wide = np.float32(rng.uniform(0.02, 0.06) * size)
    shaft = (along > 0) & (np.abs(across) < wide)
    shine = 0.5 + 0.5 * np.cos(across / wide * 2.0 + np.float32(rng.uniform(-1, 1)))
    bright = np.float32(rng.uniform(60, 220)) * shine[shaft]
    picture[:, shaft] = bright * np.asarray([[1], [1], [1.05]], np.float32)
    scene.labels[shaft] = scene.label_of("instrument")


def make_endoscopy(rng: np.random.Generator, size: int) -> tuple[Image8, Scene]:
    """A random endoscopic frame (size, size, 3) and its scene (relief, polyps, instruments)."""
    scene = Scene.blank(size, size)
    relief = size * 0.05 * smooth_field(rng, size, size, size / 4)
    relief += np.float32(size * rng.uniform(0.001, 0.012)) * fractal_field(
        rng, size, size, size / 10
    )
    tint = 0.25 * smooth_field(rng, size, size, size / 3)
    _polyps(rng, scene, relief, tint)
    relief = blur(relief, 1.5)
    slope_y, slope_x = np.gradient(relief)
    light = rng.normal(0, 0.35, 2)
    shade = (1.0 + light[0] * slope_x + light[1] * slope_y) / np.sqrt(1 + slope_x**2 + slope_y**2)
    axis = np.arange(size, dtype=np.float32) / size
    lumen = rng.uniform(0.2, 0.8, 2)
    far = np.hypot(axis[None, :] - lumen[0], axis[:, None] - lumen[1])
    fall = 1.0 - np.float32(rng.uniform(0, 0.9)) * np.exp(-((far / rng.uniform(0.1, 0.35)) ** 2))
    fall = np.where(scene.labels > 0, np.maximum(fall, 0.6), fall)
    mucosa = np.asarray([rng.uniform(170, 235), rng.uniform(70, 150), rng.uniform(50, 130)])
    shift = np.asarray([25.0, 40.0, 30.0]) * rng.uniform(0.5, 1.6)
    lines = np.abs(smooth_field(rng, size, size, size / 14)) < 0.05
    veins = blur(lines.astype(np.float32), 0.8) * np.float32(rng.uniform(0, 0.5))
    # Planes first: numpy is several times faster than with three channels last.
    planes = mucosa[:, None, None] + tint * shift[:, None, None]
    planes *= shade * fall * (1 - 0.4 * veins)
    picture = planes.astype(np.float32)
    if rng.random() < 0.3:
        _tool(rng, scene, picture)
    gloss = smooth_field(rng, size, size, size / 28) + 1.2 * (shade - 1.0)
    picture[:, gloss > rng.uniform(2.2, 3.2)] = rng.uniform(225, 255)
    if rng.random() < 0.6:
        edge = np.abs(axis - 0.5)
        corner = edge[:, None] + edge[None, :] > rng.uniform(0.75, 0.95)
        picture[:, corner] = rng.uniform(0, 12)
        scene.labels[corner] = 0
    noise = grain(rng, np.zeros((size, size), np.float32), rng.uniform(0.5, 6), 0.7)
    return colour_image(picture + noise), scene

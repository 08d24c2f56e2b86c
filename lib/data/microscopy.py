"""Microscopy: fluorescent nuclei, stained tissue, electron micrographs of myelinated axons."""

from __future__ import annotations

import numpy as np

from lib.data.acquisition import Image8, blur, colour_image, grain, stretch
from lib.data.random_fields import Field, fractal_field, smooth_field
from lib.data.scene import Scene
from lib.data.stamps import blob_stamp, scatter


def _place_cells(rng: np.random.Generator, scene: Scene, style: str) -> Field:
    """Paint cells or fibres into the scene; returns the texture that was used."""
    size = scene.values.shape[0]
    pattern = fractal_field(rng, size, size, size * rng.uniform(0.02, 0.06))
    radius = float(np.exp(rng.uniform(np.log(0.028), np.log(0.13)))) * size
    crowd = rng.uniform(1.3, 2.6)
    count = int(min(40, 0.5 * (size / (radius * crowd)) ** 2 + 1))
    for index, centre in enumerate(scatter(rng, (size, size), count, radius * crowd)):
        radii = radius * np.exp(rng.normal(0, 0.22, 2))
        stamp = blob_stamp(
            rng,
            (size, size),
            centre,
            (radii[0], radii[1]),
            rng.uniform(0, 3.2),
            rng.uniform(0.03, 0.12),
            margin=1.9,
        )
        tone = rng.uniform(0.55, 1.0)
        values, labels = scene.values[stamp.box], scene.labels[stamp.box]
        inside = stamp.level < 1
        if style == "axon":
            sheath = rng.uniform(1.15, 1.6)
            values[stamp.level < sheath] = 0.0
            labels[stamp.level < sheath] = 0
        values[inside] = tone + 0.12 * pattern[stamp.box][inside]
        if style == "nuclei" and rng.random() < 0.5:
            values[inside] *= 1.15 - 0.4 * stamp.level[inside] ** 2
        labels[inside] = scene.label_of(f"{'axon' if style == 'axon' else 'cell'} {index + 1}")
    return pattern


def make_microscopy(rng: np.random.Generator, size: int) -> tuple[Image8, Scene]:
    """A random micrograph and its scene; (size, size) or, stained, (size, size, 3)."""
    style = str(rng.choice(["nuclei", "stained", "axon"], p=[0.4, 0.35, 0.25]))
    scene = Scene.blank(size, size)
    back = smooth_field(rng, size, size, size / 3)
    if style == "axon":
        scene.values += 0.6 + 0.1 * fractal_field(rng, size, size, size / 40)
    pattern = _place_cells(rng, scene, style)
    if style != "stained":
        picture = scene.values + np.float32(rng.uniform(0, 0.2)) * back
        picture = grain(rng, blur(picture, rng.uniform(0.4, 1.6)), rng.uniform(0.01, 0.15))
        if style == "nuclei" and rng.random() < 0.3:
            picture = -picture
        return stretch(picture, 0.5, 99.7), scene
    ground = np.asarray([rng.uniform(200, 250), rng.uniform(150, 220), rng.uniform(190, 240)])
    stain = np.asarray([rng.uniform(60, 140), rng.uniform(30, 110), rng.uniform(110, 180)])
    amount = np.clip(blur(scene.values, rng.uniform(0.4, 1.3)), 0, 1.2)
    amount += 0.12 * np.clip(pattern, -2, 2) * rng.uniform(0.3, 1.2)
    fibres = np.clip(smooth_field(rng, size, size, size / 30, size / 9), 0, 2)
    amount += np.float32(rng.uniform(0.0, 0.12)) * fibres
    amount = grain(rng, amount, rng.uniform(0.01, 0.06))
    return colour_image(ground[:, None, None] + amount * (stain - ground)[:, None, None]), scene

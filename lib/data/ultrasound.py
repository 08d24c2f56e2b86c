"""B-mode ultrasound: a fan or a rectangle of speckle with cysts, masses, vessels and a skull.

Speckle is the magnitude of a random phasor sum, stretched sideways with depth, then compressed
with a logarithm as a scanner does.
"""

from __future__ import annotations

import numpy as np

from lib.data.acquisition import Image8, blur, window
from lib.data.random_fields import Field, smooth_field
from lib.data.scene import Mask, Scene
from lib.data.stamps import blob_stamp


def _fan(rng: np.random.Generator, size: int) -> tuple[Mask, Field]:
    """The lit part of the screen and the depth 0..1 of every pixel."""
    y = np.arange(size, dtype=np.float32)[:, None] / size
    x = np.arange(size, dtype=np.float32)[None, :] / size - np.float32(rng.normal(0.5, 0.03))
    if rng.random() < 0.4:
        left, top = rng.uniform(0.0, 0.12), rng.uniform(0.0, 0.1)
        depth = np.broadcast_to((y - top) / (1 - top), (size, size)).astype(np.float32)
        return (np.abs(x) < 0.5 - left) & (depth > 0), depth
    apex = rng.uniform(-0.5, 0.05)
    radius = np.hypot(x, y - np.float32(apex))
    near, far = max(0.03, -apex * 1.05), rng.uniform(0.9, 1.02) - apex
    inside = (radius > near) & (radius < far) & (np.abs(x) < (y - apex) * rng.uniform(0.55, 1.1))
    return inside, ((radius - near) / (far - near)).astype(np.float32)


def _speckle(rng: np.random.Generator, size: int) -> Field:
    """Rayleigh speckle (size, size) with mean about 1."""
    across = rng.uniform(1.4, 3.2) * size / 256
    along = rng.uniform(1.1, 2.2) * size / 256
    real = smooth_field(rng, size, size, along, across)
    return np.hypot(real, smooth_field(rng, size, size, along, across)) * np.float32(0.8)


def _paint_objects(rng: np.random.Generator, scene: Scene, lit: Mask, dark: Field) -> None:
    """Cysts, masses, vessels, a skull; ``dark`` (H, W) collects shadows and enhancement."""
    size = scene.values.shape[0]
    for _ in range(rng.integers(1, 5)):
        centre = (rng.uniform(0.2, 0.8) * size, rng.uniform(0.2, 0.85) * size)
        radius = float(np.exp(rng.uniform(np.log(0.035), np.log(0.25)))) * size
        radii = (radius * rng.uniform(0.8, 1.6), radius * rng.uniform(0.6, 1.0))
        kind = rng.choice(
            ["cyst", "mass", "bright mass", "vessel", "ring"], p=[0.3, 0.3, 0.15, 0.1, 0.15]
        )
        rough = 0.04 if kind in ("cyst", "vessel", "ring") else rng.uniform(0.08, 0.3)
        stamp = blob_stamp(rng, (size, size), centre, radii, rng.uniform(-0.6, 0.6), rough)
        inside = np.zeros((size, size), np.bool_)
        inside[stamp.box] = stamp.level < 1
        inside &= lit
        value = {
            "cyst": rng.uniform(0.01, 0.12),
            "vessel": rng.uniform(0.01, 0.12),
            "mass": rng.uniform(0.15, 0.45),
            "bright mass": rng.uniform(1.3, 2.5),
            "ring": rng.uniform(0.1, 0.5),
        }[kind]
        scene.paint(
            inside, value, "lesion" if "mass" in kind else "head" if kind == "ring" else kind
        )
        if rng.random() < 0.6 or kind == "ring":
            rim = np.abs(stamp.level - 0.96) < rng.uniform(0.02, 0.07)
            bright = rng.uniform(1.2, 4.0)
            scene.values[stamp.box][rim] = bright
        below = np.zeros(scene.values.shape, np.bool_)
        below[stamp.box[0].stop - int(0.4 * radii[1]) :, stamp.box[1]] = (
            np.abs(stamp.x) < 0.8 * radii[0]
        )
        if kind == "cyst" and rng.random() < 0.6:
            dark[below & ~inside] *= np.float32(rng.uniform(1.2, 1.8))
        elif kind in ("mass", "ring") and rng.random() < 0.35:
            dark[below & ~inside] *= np.float32(rng.uniform(0.3, 0.7))


def make_ultrasound(rng: np.random.Generator, size: int) -> tuple[Image8, Scene]:
    """A random ultrasound image (size, size) and its scene (echo strength, objects)."""
    lit, depth = _fan(rng, size)
    tissue = np.exp(0.45 * smooth_field(rng, size, size, size / 6) + np.float32(0.0))
    layers = smooth_field(rng, size, size, size / rng.uniform(8, 30), size / rng.uniform(1.5, 6))
    scene = Scene.blank(size, size)
    scene.values[:] = tissue * np.exp(np.float32(rng.uniform(0.0, 0.35)) * layers)
    shade = np.ones((size, size), np.float32)
    _paint_objects(rng, scene, lit, shade)
    scene.labels[~lit] = 0
    echo = scene.values * shade * np.exp(np.float32(-rng.uniform(0, 1.8)) * np.clip(depth, 0, 1))
    for _ in range(rng.integers(0, 3)):
        x = rng.uniform(0.1, 0.9) * size
        column = np.exp(-(((np.arange(size) - x) / rng.uniform(4, 20)) ** 2))
        echo *= 1.0 - np.float32(rng.uniform(0.3, 0.8)) * column[None, :].astype(np.float32)
    echo = echo * _speckle(rng, size) + np.float32(rng.uniform(0.002, 0.04))
    scene.values = blur(np.log(echo), rng.uniform(0.4, 0.9))
    top = np.percentile(scene.values[::3, ::3], 99)
    image = window(scene.values, float(top) - rng.uniform(3.2, 6.5), float(top) + 0.2)
    image[~lit] = rng.integers(0, 12)
    return image, scene

"""Abstract scenes without any anatomy: regions, blobs, tubes, layers, rings with random textures.

Training on such label maps with random contrast teaches a network edges and regions rather than
organs (the idea of SynthSeg, Billot et al. 2023).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from lib.data.acquisition import Image8, bias_field, blur, grain, stretch
from lib.data.random_fields import Field, fractal_field, smooth_field
from lib.data.scene import Mask, Scene
from lib.data.stamps import blob_stamp, scatter


def _surface(rng: np.random.Generator, size: int, value: float) -> Field:
    """A textured value (size, size)."""
    kind = rng.integers(0, 4)
    depth = np.float32(rng.uniform(0, 0.08))
    if kind == 0:
        return np.float32(value) + depth * fractal_field(rng, size, size, size / rng.uniform(8, 40))
    if kind == 1:
        stripes = smooth_field(rng, size, size, size / 60, size / 8)
        return np.float32(value) + depth * (stripes if rng.random() < 0.5 else stripes.T)
    if kind == 2:
        return np.float32(value) + 1.5 * depth * smooth_field(rng, size, size, size / 4)
    return np.full((size, size), value, np.float32)


def _regions(rng: np.random.Generator, scene: Scene) -> None:
    """Cut the plane into regions where one of several smooth fields is the highest."""
    size = scene.values.shape[0]
    warp = size / rng.uniform(2.0, 7.0)
    fields = np.stack([fractal_field(rng, size, size, warp, 2) for _ in range(rng.integers(3, 8))])
    winner = fields.argmax(axis=0)
    for index in range(1, len(fields)):
        scene.paint(winner == index, _surface(rng, size, rng.random()), f"region {index}")


def _blobs(rng: np.random.Generator, scene: Scene) -> None:
    """Blobs of all sizes, many touching or overlapping, some with a core or a rim."""
    size = scene.values.shape[0]
    for index in range(rng.integers(1, 9)):
        radius = float(np.exp(rng.uniform(np.log(0.03), np.log(0.3)))) * size
        centre = tuple(rng.uniform(0.1, 0.9, 2) * size)
        radii = (radius * rng.uniform(0.8, 1.8), radius * rng.uniform(0.5, 1.0))
        stamp = blob_stamp(
            rng, (size, size), centre, radii, rng.uniform(0, 3), rng.uniform(0, 0.35)
        )
        inside = _full(scene, stamp.box, stamp.level < 1)
        value = rng.random()
        scene.paint(inside, _surface(rng, size, value), f"blob {index}")
        if rng.random() < 0.35:
            core = _full(scene, stamp.box, stamp.level < rng.uniform(0.4, 0.85))
            other = (value + rng.uniform(0.15, 0.85)) % 1.0  # never the blob's own value
            scene.paint(core, _surface(rng, size, other), f"core {index}", f"blob {index}")


def _full(scene: Scene, box: tuple[slice, slice], part: Mask) -> Mask:
    """The mask of a stamp in the whole image."""
    mask = np.zeros(scene.labels.shape, np.bool_)
    mask[box] = part
    return mask


def _tubes(rng: np.random.Generator, scene: Scene) -> None:
    """Branches of a tree: bands around zero lines of smooth fields."""
    size = scene.values.shape[0]
    for index in range(rng.integers(1, 4)):
        line = smooth_field(rng, size, size, size / rng.uniform(1.5, 4))
        gy, gx = np.gradient(line)
        distance = np.abs(line) / np.maximum(np.hypot(gx, gy), 0.15 / size)
        tube = distance < rng.uniform(0.008, 0.035) * size
        scene.paint(tube, _surface(rng, size, rng.random()), f"tube {index}")


def _layers(rng: np.random.Generator, scene: Scene) -> None:
    """Stacked bands, as retina or skin in cross section."""
    size = scene.values.shape[0]
    count = int(rng.integers(3, 8))
    y = np.arange(size, dtype=np.float32)[:, None] / size
    sway = 0.06 * smooth_field(rng, size, size, size / 2)
    edges = np.sort(rng.uniform(0.08, 0.95, count))
    flip = rng.random() < 0.5
    for index, (top, bottom) in enumerate(pairwise(edges)):
        bend = y + sway + 0.012 * smooth_field(rng, size, size, size / 8)
        band = (bend > top) & (bend <= bottom)
        scene.paint(band.T if flip else band, _surface(rng, size, rng.random()), f"layer {index}")


def _spots(rng: np.random.Generator, scene: Scene) -> None:
    """Many small things of one kind."""
    size = scene.values.shape[0]
    radius = rng.uniform(0.03, 0.08) * size
    value = rng.random()
    for index, centre in enumerate(
        scatter(rng, (size, size), int(rng.integers(4, 20)), radius * 2)
    ):
        stamp = blob_stamp(
            rng,
            (size, size),
            centre,
            (radius, radius * rng.uniform(0.6, 1)),
            rng.uniform(0, 3),
            0.12,
        )
        scene.paint(
            _full(scene, stamp.box, stamp.level < 1), value + rng.normal(0, 0.05), f"spot {index}"
        )


def make_shapes(rng: np.random.Generator, size: int) -> tuple[Image8, Scene]:
    """A random abstract image, (size, size) or now and then (size, size, 3), and its scene."""
    scene = Scene.blank(size, size)
    scene.values[:] = _surface(rng, size, rng.random())
    painters = (_regions, _blobs, _tubes, _layers, _spots)
    for index in rng.choice(5, int(rng.integers(1, 3)), replace=False, p=[0.2, 0.4, 0.1, 0.1, 0.2]):
        painters[index](rng, scene)
    picture = blur(scene.values, rng.uniform(0.3, 2.0))
    picture = picture * bias_field(rng, size, size, rng.uniform(0, 0.3))
    spread = float(np.std(picture[::4, ::4])) + 0.02
    picture = grain(rng, picture, spread * rng.uniform(0.02, 0.5), rng.uniform(0, 1))
    image = stretch(picture, 0.5, 99.5)
    if rng.random() < 0.12:
        low, high = rng.uniform(0, 255, (2, 3))
        mix = image[..., None].astype(np.float32) / 255
        return np.clip(low + mix * (high - low), 0, 255).astype(np.uint8), scene
    return image, scene

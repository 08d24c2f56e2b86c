"""Fundus photographs: disc, cup, vessel tree, macula, exudates, bleedings in a round field."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib.data.acquisition import Image8, colour_image, grain, soften
from lib.data.random_fields import Field, fractal_field, smooth_field
from lib.data.scene import Scene, SceneObject, bounding_box
from lib.data.stamps import Stamp, blob_stamp

Place = npt.NDArray[np.float64]
"""x, y in pixels."""


def _segments(
    rng: np.random.Generator, disc: Place, macula: Place, size: int
) -> list[tuple[Place, float]]:
    """Ways (n, 2) of vessels and their radii in pixels: four arcades, each with branches."""
    found: list[tuple[Place, float]] = []
    side = np.sign(macula[0] - disc[0])
    step = size / 220
    for up in (-1.0, 1.0):
        for towards in (side, side, -side):
            angle = np.arctan2(up * rng.uniform(0.6, 1.6), towards * rng.uniform(0.3, 1.2))
            radius = rng.uniform(0.006, 0.013) * size
            # Arcades bend around the macula: first away from it, then towards it.
            bend = -up * towards * rng.uniform(-0.001, 0.013) * (1 if towards == side else -0.3)
            _grow(rng, found, (disc, float(angle), float(radius)), float(-bend), step)
    return found


def _grow(
    rng: np.random.Generator,
    found: list[tuple[Place, float]],
    start: tuple[Place, float, float],
    bend: float,
    step: float,
    depth: int = 0,
) -> None:
    """Add one vessel from (place, angle, radius) and, by recursion, its branches."""
    place, angle, radius = start
    length = int(rng.uniform(60, 120)) if depth == 0 else int(rng.uniform(24, 70))
    turn = angle + np.cumsum(rng.normal(bend, 0.055, length))
    way = np.empty((length, 2))
    np.cumsum(np.cos(turn), out=way[:, 0])
    np.cumsum(np.sin(turn), out=way[:, 1])
    way *= step
    way += place
    found.append((way, radius))
    if depth == 3 or radius < 0.4 * step:
        return
    for at in rng.integers(8, length, int(rng.integers(1, 4 - min(depth, 2)))):
        side = 2 * int(rng.integers(2)) - 1
        aside = float(turn[at] + side * rng.uniform(0.35, 1.0))
        twig = (way[at], aside, radius * float(rng.uniform(0.45, 0.8)))
        _grow(rng, found, twig, 0.0, step, depth + 1)


def _draw(vessels: list[tuple[Place, float]], size: int) -> tuple[Field, npt.NDArray[np.bool_]]:
    """Darkness 0..1 and mask (size, size) of all vessels; they taper."""
    dark = np.zeros((size, size), np.float32)
    mask = np.zeros((size, size), np.bool_)
    places = np.concatenate([way for way, _ in vessels])
    thick = np.concatenate([radius * np.linspace(1, 0.6, len(way)) for way, radius in vessels])
    for reach in range(1, int(np.ceil(thick.max())) + 1):
        group = np.ceil(np.maximum(thick, 0.7)) == reach
        grid = np.arange(-reach, reach + 1)
        dx, dy = (g.ravel()[None] for g in np.meshgrid(grid, grid))
        column, row = (
            np.rint(places[group, axis, None]).astype(int) + d for axis, d in ((0, dx), (1, dy))
        )
        near = dx**2 + dy**2 <= np.maximum(thick[group, None], 0.7) ** 2
        near &= (column >= 0) & (row >= 0) & (column < size) & (row < size)
        mask[row[near], column[near]] = True
        dark[row[near], column[near]] = min(1.0, 0.45 + 0.3 * reach)
    return dark, mask


def _lesions(rng: np.random.Generator, scene: Scene, size: int) -> tuple[Field, Field]:
    """Brightness of exudates and darkness of bleedings, both 0..1 (size, size)."""
    fields = np.zeros((2, size, size), np.float32)
    for kind, name in enumerate(("exudate", "bleeding")):
        if rng.random() < 0.6:
            continue
        middle = rng.uniform(0.25, 0.75, 2) * size
        for _ in range(rng.integers(1, 9)):
            radius = float(np.exp(rng.uniform(np.log(0.006), np.log(0.06)))) * size
            centre = np.clip(middle + rng.normal(0, 0.1, 2) * size, 2, size - 3)
            radii = (radius * rng.uniform(1, 1.8), radius)
            stamp = blob_stamp(
                rng, (size, size), (centre[0], centre[1]), radii, rng.uniform(0, 3), 0.2
            )
            inside = stamp.level < 1
            fields[kind][stamp.box][inside] = rng.uniform(0.4, 1)
            scene.labels[stamp.box][inside] = scene.label_of(name)
    soft = rng.uniform(0.6, 1.0)
    white, red = (soften(f[None], soft)[0] if f.any() else f for f in fields)
    return white, red


def _disc(rng: np.random.Generator, scene: Scene, place: Place, size: int) -> tuple[Field, Field]:
    """Levels of the disc and of its cup, 1 inside to 0 outside with soft edges (size, size)."""
    radius = rng.uniform(0.05, 0.14) * size
    if rng.random() < 0.2:
        radius *= 2.2  # photographs centred on the disc come closer
    shape, soft = (size, size), np.float32(rng.uniform(0.03, 0.12))
    levels = np.zeros((2, size, size), np.float32)
    ratio = rng.uniform(0.3, 0.75)
    shift = rng.normal(0, 0.08 * radius, 2)
    for index, (name, share, move) in enumerate((("disc", 1.0, 0.0), ("cup", ratio, 1.0))):
        centre = np.clip(place + move * shift, 0, size - 1)
        radii = (radius * share * rng.uniform(0.9, 1.0), radius * share * rng.uniform(0.95, 1.12))
        stamp: Stamp = blob_stamp(
            rng, shape, (centre[0], centre[1]), radii, rng.uniform(-0.3, 0.3), 0.04
        )
        levels[index][stamp.box] = 0.5 - 0.5 * np.tanh((stamp.level - 1) / soft)
        inside = stamp.level < 1
        scene.labels[stamp.box][inside] = scene.label_of(name)
    scene.parents[scene.label_of("cup")] = scene.label_of("disc")
    return levels[0], levels[1]


def make_fundus(rng: np.random.Generator, size: int) -> tuple[Image8, Scene]:
    """A random fundus photograph (size, size, 3), now and then grey, and its scene."""
    scene = Scene.blank(size, size)
    side = rng.choice([-1.0, 1.0])
    disc = (0.5 + np.array([side * rng.uniform(0.0, 0.36), rng.normal(0, 0.06)])) * size
    macula = disc - np.array([side * rng.uniform(0.3, 0.42) * size, 0.02 * size])
    white, red = _lesions(rng, scene, size)
    glow, cup = _disc(rng, scene, disc, size)
    dark, mask = _draw(_segments(rng, disc, macula, size), size)
    axis = np.arange(size, dtype=np.float32)
    far = np.hypot(axis[None] - np.float32(macula[0]), axis[:, None] - np.float32(macula[1]))
    far /= np.float32(rng.uniform(0.06, 0.12) * size)
    shade = 1 + 0.1 * smooth_field(rng, size, size, size / 2)
    shade += np.float32(rng.uniform(0.01, 0.06)) * fractal_field(rng, size, size, size / 12)
    shade -= np.float32(rng.uniform(0.05, 0.35)) * np.exp(-far * far)
    colour = np.asarray([rng.uniform(150, 235), rng.uniform(60, 130), rng.uniform(15, 80)])
    pale = np.asarray([rng.uniform(235, 255), rng.uniform(180, 240), rng.uniform(110, 190)])
    picture = colour.astype(np.float32)[:, None, None] * shade  # planes first: three times as fast
    layers = (
        (glow, pale * rng.uniform(0.75, 0.95), rng.uniform(0.35, 0.9)),
        (cup, np.minimum(pale * 1.08, 255), rng.uniform(0.3, 0.9)),
        (soften(dark[None], 0.6)[0], colour * [0.55, 0.25, 0.3], rng.uniform(0.35, 0.9)),
        (white, np.asarray([250.0, 235.0, 150.0]), rng.uniform(0.5, 1.0)),
        (red, colour * [0.5, 0.2, 0.3], rng.uniform(0.4, 0.9)),
    )
    for amount, tint, strength in layers:
        box = bounding_box(amount > 0)
        part = picture[:, box[0], box[1]]
        part += amount[box] * np.float32(strength) * (tint.astype(np.float32)[:, None, None] - part)
    soft = rng.uniform(0.3, 0.9)
    picture = soften(picture, soft)
    axis = (axis - np.float32(size / 2)) / np.float32(size / 2)
    off_axis = np.hypot(axis[None], axis[:, None])
    picture *= 1 - np.float32(rng.uniform(0, 0.5)) * np.minimum(off_axis, np.float32(1.2)) ** 3
    lit = off_axis < (rng.uniform(0.9, 1.02) if rng.random() < 0.8 else 2.0)
    if rng.random() < 0.3:
        lit &= np.abs(axis[:, None]) < rng.uniform(0.76, 0.96)
    picture += grain(rng, np.zeros((size, size), np.float32), rng.uniform(0.5, 7), 0.6)
    picture[:, ~lit] = rng.uniform(0, 10)
    scene.labels[~lit] = 0
    scene.overlays.append(SceneObject("vessels", mask & lit))
    image = colour_image(picture)
    return (image[..., 1] if rng.random() < 0.12 else image), scene

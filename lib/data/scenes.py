"""Random scenes for promptable segmentation: any shape, any texture, any contrast, no anatomy.

Shapes are drawn back to front into one label map, in coordinates bent by a smooth field. Every
label then gets a colour and an amount of each of three textures of its own, so that a boundary may
show by brightness, by colour, by texture alone or by a rim, strongly or hardly at all (domain
randomisation as in SynthSeg, Billot et al. 2023).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lib.data.acquisition import Image8, soften
from lib.data.random_fields import Field, fractal_field, smooth_field, soft_noise
from lib.data.scene import Mask, Scene

Level = Callable[[np.random.Generator, Field, Field], Field]
"""From coordinates (x, y), in units of the radius, to a level that is below 1 inside."""


def _ellipse(rng: np.random.Generator, x: Field, y: Field) -> Field:
    squeeze = np.float32(np.exp(rng.uniform(0, 1.1)))
    return np.asarray(np.hypot(x, y * squeeze), np.float32)


def _box(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """A rectangle with more or less round corners."""
    order = np.float32(rng.uniform(2.5, 8))
    wide = np.abs(y) * np.float32(np.exp(rng.uniform(0, 1.2)))
    return np.asarray((np.abs(x) ** order + wide**order) ** (1 / order), np.float32)


def _lobes(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """An outline of several waves: flowers, stars, amoebas."""
    angle, outline = np.arctan2(y, x), np.ones_like(x)
    for _ in range(3):
        order, phase = rng.integers(2, 8), np.float32(rng.uniform(0, 6.3))
        outline += np.float32(rng.uniform(0, 0.22)) * np.cos(order * angle + phase)
    return np.asarray(np.hypot(x, y) / np.maximum(outline, 0.25), np.float32)


def _bean(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """A bent sausage: kidney, worm, crescent."""
    bent = y + np.float32(rng.uniform(0.3, 1.6)) * (x * x - np.float32(0.35))
    return np.hypot(x, bent * np.float32(rng.uniform(1.6, 4.5)))


def _ring(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """A wall around a lumen."""
    inner = np.float32(rng.uniform(0.45, 0.85))
    radius = np.hypot(x, y * np.float32(rng.uniform(1, 1.6)))
    middle, half = (1 + inner) / 2, (1 - inner) / 2
    return np.asarray(np.abs(radius - middle) / half, np.float32)


def _crescent(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """A disc without another disc."""
    bite = np.hypot(x - np.float32(rng.uniform(0.4, 0.9)), y) / np.float32(rng.uniform(0.6, 1.1))
    return np.maximum(np.hypot(x, y), 2 - bite)


_SHAPES: tuple[Level, ...] = (_ellipse, _box, _lobes, _bean, _ring, _crescent)
_SHAPE_SHARES = np.asarray([0.34, 0.12, 0.24, 0.16, 0.07, 0.07])


class _Canvas:
    """A label map that shapes are drawn into; every shape gets a label of its own."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng, self.size = rng, size
        self.labels = np.zeros((size, size), np.int16)
        self.count = 0
        scale = size / rng.uniform(2.5, 12)
        reach = np.float32(rng.uniform(0, 0.22) * scale)
        y, x = np.mgrid[:size, :size].astype(np.float32)
        self.x = x + reach * smooth_field(rng, size, size, scale)
        self.y = y + reach * smooth_field(rng, size, size, scale)

    def add(self, inside: Mask) -> None:
        """A new label for the pixels of a mask (size, size)."""
        self.count += 1
        self.labels[inside] = self.count

    def shape(self, shape: int, place: npt.NDArray[np.float64], radius: float) -> None:
        """One of _SHAPES around a place (x, y); sometimes with a rim and with a core."""
        rng, reach = self.rng, int(radius * 1.8 + self.size * 0.08) + 2
        rows, columns = (
            slice(max(0, int(v) - reach), max(1, int(v) + reach)) for v in (place[1], place[0])
        )
        x, y = (
            self.x[rows, columns] - np.float32(place[0]),
            self.y[rows, columns] - np.float32(place[1]),
        )
        angle = rng.uniform(0, 6.3)
        c, s = np.float32(np.cos(angle) / radius), np.float32(np.sin(angle) / radius)
        level = _SHAPES[shape](rng, x * c + y * s, y * c - x * s)
        part = self.labels[rows, columns]
        if rng.random() < 0.12:
            self.count += 1
            part[level < 1 + rng.uniform(0.05, 0.25)] = self.count
        self.count += 1
        part[level < 1] = self.count
        if rng.random() < 0.22:
            self.count += 1
            part[level < rng.uniform(0.3, 0.85)] = self.count


def _parts(canvas: _Canvas) -> None:
    """The plane cut up where one of several fields is the highest."""
    rng, size = canvas.rng, canvas.size
    scale, count = size / rng.uniform(1.2, 6), int(rng.integers(2, 6))
    fields = np.stack([smooth_field(rng, size, size, scale) for _ in range(count)])
    if rng.random() < 0.3:
        fields[1:] += 0.35 * smooth_field(rng, size, size, scale / 6)
    winner = fields.argmax(axis=0)
    for number in range(1, count):
        canvas.add(winner == number)


def _bands(canvas: _Canvas) -> None:
    """Layers, straight or around a far centre."""
    rng, size = canvas.rng, canvas.size
    angle = rng.uniform(0, 6.3)
    along = canvas.x * np.float32(np.cos(angle)) + canvas.y * np.float32(np.sin(angle))
    if rng.random() < 0.4:
        middle = rng.uniform(-0.6, 1.6, 2) * size
        along = np.hypot(canvas.x - np.float32(middle[0]), canvas.y - np.float32(middle[1]))
    along = along + size * 0.03 * smooth_field(rng, size, size, size / 4)
    low, high = float(along.min()), float(along.max())
    edges = np.sort(rng.uniform(low, high, int(rng.integers(2, 7))))
    winner = np.searchsorted(edges, along.ravel()).reshape(size, size)
    for number in range(1, len(edges) + 1):
        canvas.add(winner == number)


def _mosaic(canvas: _Canvas) -> None:
    """Touching cells, with or without walls between them."""
    rng, size = canvas.rng, canvas.size
    count = int(rng.integers(6, 30))
    places = rng.uniform(0, size, (count, 2)).astype(np.float32)
    step = 2
    x, y = canvas.x[::step, ::step, None], canvas.y[::step, ::step, None]
    distance = np.hypot(x - places[:, 0], y - places[:, 1])
    order = np.partition(distance, 1, axis=2)
    nearest = distance.argmin(axis=2).astype(np.int16) + 1
    wall = rng.uniform(0, 0.03) * size if rng.random() < 0.5 else 0.0
    nearest[order[..., 1] - order[..., 0] < wall] = 0
    kept = np.concatenate([[0], np.where(rng.random(count) < rng.uniform(0.4, 1), 1, 0)])
    fine = np.repeat(np.repeat(nearest, step, 0), step, 1)[:size, :size]
    fine = np.pad(fine, [(0, size - n) for n in fine.shape], mode="edge")
    marks = (fine * kept[fine]).astype(np.int16)
    canvas.labels = np.where(marks > 0, marks + canvas.count, canvas.labels).astype(np.int16)
    canvas.count += count


def _shapes(canvas: _Canvas) -> None:
    """One to eight shapes of all sizes."""
    rng, size = canvas.rng, canvas.size
    for _ in range(rng.integers(1, 9)):
        radius = float(np.exp(rng.uniform(np.log(0.025), np.log(0.42)))) * size
        canvas.shape(
            int(rng.choice(len(_SHAPES), p=_SHAPE_SHARES)), rng.uniform(0, size, 2), radius
        )


def _crowd(canvas: _Canvas) -> None:
    """Many shapes of one kind and about one size, which touch and overlap."""
    rng, size = canvas.rng, canvas.size
    radius = float(np.exp(rng.uniform(np.log(0.025), np.log(0.1)))) * size
    shape = int(rng.choice(len(_SHAPES), p=_SHAPE_SHARES))
    for place in rng.uniform(0, size, (int(rng.integers(4, 22)), 2)):
        canvas.shape(shape, place, radius * float(np.exp(rng.normal(0, 0.25))))


def _tree(canvas: _Canvas) -> None:
    """Branching tubes: each starts on an earlier one and is thinner."""
    rng, size = canvas.rng, canvas.size
    canvas.count += 1
    width = rng.uniform(0.012, 0.05) * size
    walks = [(rng.uniform(0, size, 2), rng.uniform(0, 6.3), width)]
    for _ in range(int(rng.integers(2, 12))):
        place, angle, width = walks.pop(int(rng.integers(len(walks))))
        turn = np.cumsum(rng.normal(0, 0.09, 60)) + angle
        steps = np.stack([np.cos(turn), np.sin(turn)], axis=1) * size * 0.011
        way = place + np.cumsum(steps, axis=0)
        _brush(canvas, way, width)
        for at in rng.integers(20, 60, 2):
            aside = turn[at] + rng.choice([-1, 1]) * rng.uniform(0.3, 0.9)
            walks.append((way[at], aside, max(width * rng.uniform(0.6, 0.95), 0.8 * size / 256)))


def _brush(canvas: _Canvas, way: npt.NDArray[np.float64], width: float) -> None:
    """Draw a line of round dots along a way (n, 2), all in the label made last."""
    reach = int(width) + 1
    grid = np.arange(-reach, reach + 1)
    dy, dx = np.nonzero(grid[:, None] ** 2 + grid[None, :] ** 2 <= width**2)
    x = (way[:, :1].astype(int) + grid[dx]).ravel()
    y = (way[:, 1:].astype(int) + grid[dy]).ravel()
    seen = (x >= 0) & (y >= 0) & (x < canvas.size) & (y < canvas.size)
    canvas.labels[y[seen], x[seen]] = canvas.count


_GROUNDS = (_parts, _bands, _mosaic)
_FIGURES = (_shapes, _crowd, _tree)


def _texture(rng: np.random.Generator, size: int) -> Field:
    """A texture (size, size) of unit variance: clouds, stripes, grain, spots, ripples."""
    kind = rng.integers(0, 6)
    if kind == 0:
        return fractal_field(rng, size, size, size / rng.uniform(5, 60))
    if kind == 1:
        stripes = smooth_field(rng, size, size, size / rng.uniform(40, 90), size / 6)
        return stripes if rng.random() < 0.5 else np.ascontiguousarray(stripes.T)
    if kind == 2:
        return soft_noise(rng, size, size, float(rng.uniform(0, 1)))
    if kind == 3:
        spots = smooth_field(rng, size, size, size / rng.uniform(20, 70))
        return 2.5 * (spots > rng.uniform(0.3, 1.4)).astype(np.float32)
    if kind == 4:
        bumps = smooth_field(rng, size, size, size / rng.uniform(8, 50))
        return 1.5 - 2 * np.abs(bumps)
    waves = smooth_field(rng, size, size, size / rng.uniform(2, 6))
    return np.asarray(1.4 * np.sin(np.float32(rng.uniform(3, 12)) * waves), np.float32)


def _share_materials(canvas: _Canvas) -> None:
    """Few materials for many shapes, as in anatomy; neighbours of one material become one shape."""
    rng = canvas.rng
    materials = int(rng.integers(2, 6))
    of_label = rng.integers(0, materials, canvas.count + 1)
    of_label[0] = 0
    canvas.labels = of_label.astype(np.int16)[canvas.labels]
    canvas.count = materials - 1


def _dress(rng: np.random.Generator, labels: npt.NDArray[np.int16], count: int) -> Field:
    """Colours and textures for a label map; (C, H, W), 0..1 and a little beyond, C 1 or 3."""
    size = labels.shape[0]
    channels = 3 if rng.random() < 0.4 else 1
    spread = float(np.exp(rng.uniform(np.log(0.06), np.log(0.4))))
    common = rng.uniform(0.25, 0.75, channels)
    tones = common + spread * rng.normal(0, 1, (count + 1, 1))
    tones = tones + spread * 0.5 * rng.normal(0, 1, (count + 1, channels)) * (channels > 1)
    picture: Field = np.stack([tone.astype(np.float32)[labels] for tone in tones.T])
    strength = float(np.exp(rng.uniform(np.log(0.02), np.log(0.25))))
    for _ in range(int(rng.integers(1, 4))):
        amount = strength * rng.random(count + 1) ** 2 * (rng.random(count + 1) < 0.6)
        hue = rng.normal(1, 0.3, channels).astype(np.float32)
        grain = amount.astype(np.float32)[labels] * _texture(rng, size)
        picture += grain * hue[:, None, None]
    return picture


def _rims(rng: np.random.Generator, labels: npt.NDArray[np.int16], picture: Field) -> None:
    """Lines along all boundaries, bright or dark: membranes, capsules."""
    edge = np.zeros(labels.shape, np.float32)
    edge[1:] += labels[1:] != labels[:-1]
    edge[:, 1:] += labels[:, 1:] != labels[:, :-1]
    line = np.minimum(soften(edge[None], rng.uniform(0.5, 1.5))[0] * 2, 1) * np.float32(
        rng.uniform(-0.4, 0.4)
    )
    picture += line


def _photograph(rng: np.random.Generator, picture: Field) -> Image8:
    """Blur, bias, noise, range."""
    size = picture.shape[1]
    sigma = rng.uniform(0, 2.2) * size / 256
    picture = soften(picture, sigma)
    if rng.random() < 0.5:
        gain = 1 + np.float32(rng.uniform(0, 0.35)) * smooth_field(rng, size, size, size / 1.5)
        picture *= gain
    noise = np.float32(rng.uniform(0, 0.4) ** 2) * soft_noise(
        rng, size, size, float(rng.uniform(0, 1))
    )
    if rng.random() < 0.3:
        picture *= 1 + 2 * noise
    else:
        picture += noise
    low, high = np.percentile(picture[:, ::4, ::4], [0.5, 99.5])
    if rng.random() < 0.4:
        low, high = (
            low - rng.uniform(0, 0.6) * (high - low),
            high + rng.uniform(0, 0.6) * (high - low),
        )
    scaled = (picture - np.float32(low)) * np.float32(255 / max(high - low, 0.02))
    image = np.clip(scaled, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(image, 0, 2)) if len(image) == 3 else image[0]


def make_scene(rng: np.random.Generator, size: int) -> tuple[Image8, Scene]:
    """A random scene, uint8 (size, size) or (size, size, 3), and its objects."""
    canvas = _Canvas(rng, size)
    if rng.random() < 0.55:
        _GROUNDS[int(rng.choice(3, p=[0.5, 0.25, 0.25]))](canvas)
    if canvas.count == 0 or rng.random() < 0.8:
        for index in rng.choice(3, int(rng.integers(1, 3)), replace=False, p=[0.6, 0.2, 0.2]):
            _FIGURES[index](canvas)
    if rng.random() < 0.3:
        _share_materials(canvas)
    picture = _dress(rng, canvas.labels, canvas.count)
    if rng.random() < 0.15:
        _rims(rng, canvas.labels, picture)
    scene = Scene.blank(size, size)
    scene.labels = canvas.labels
    scene.names = [f"shape {number + 1}" for number in range(canvas.count)]
    return _photograph(rng, picture), scene

"""Single shapes in pixels, worked out only in the box they need (cells, lesions, cysts, bones)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.data.random_fields import Field


@dataclass(frozen=True)
class Stamp:
    """A shape in its box of the image.

    Attributes:
        box: rows and columns of the image it covers (two slices).
        level: float32, radius relative to the boundary: below 1 inside, 0 at the middle.
        x: offset from the middle in pixels, float32 (1, w).
        y: the same along rows, (h, 1).
    """

    box: tuple[slice, slice]
    level: Field
    x: Field
    y: Field


def blob_stamp(
    rng: np.random.Generator,
    shape: tuple[int, int],
    centre: tuple[float, float],
    radii: tuple[float, float],
    angle: float = 0.0,
    rough: float = 0.1,
    margin: float = 1.6,
) -> Stamp:
    """An ellipse with a wavy outline.

    Args:
        rng: source of the outline.
        shape: rows and columns of the image.
        centre: x, y in pixels; must lie in the image.
        radii: along its own axes, pixels.
        angle: turn in radians.
        rough: height of the waves relative to the radius; harmonics 2 to 6.
        margin: how far beyond the larger radius the box reaches.
    """
    reach = margin * max(radii) + 2
    x0, x1 = int(max(0, centre[0] - reach)), int(min(shape[1], centre[0] + reach + 1))
    y0, y1 = int(max(0, centre[1] - reach)), int(min(shape[0], centre[1] + reach + 1))
    x = (np.arange(x0, x1, dtype=np.float32) - np.float32(centre[0]))[None, :]
    y = (np.arange(y0, y1, dtype=np.float32) - np.float32(centre[1]))[:, None]
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u = (x * c + y * s) / np.float32(radii[0])
    v = (y * c - x * s) / np.float32(radii[1])
    level = np.hypot(u, v)
    if rough > 0:
        theta = np.arctan2(v, u)
        outline = np.ones_like(level)
        for order in range(2, 6):
            height = np.float32(rng.normal(0, rough / (order - 0.6)))
            outline += height * np.cos(order * theta + np.float32(rng.uniform(0, 6.3)))
        level = level / np.clip(outline, 0.3, 2.0)
    return Stamp((slice(y0, y1), slice(x0, x1)), level, x, y)


def scatter(
    rng: np.random.Generator, shape: tuple[int, int], count: int, distance: float
) -> list[tuple[float, float]]:
    """Up to ``count`` random places (x, y), no two closer than ``distance`` pixels."""
    places: list[tuple[float, float]] = []
    tries = rng.uniform(0, 1, (count * 4, 2)) * (shape[1] - 1, shape[0] - 1)
    for x, y in tries:
        if all((x - a) ** 2 + (y - b) ** 2 >= distance**2 for a, b in places):
            places.append((float(x), float(y)))
        if len(places) == count:
            break
    return places

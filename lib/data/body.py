"""Parts of a body as ellipsoids in millimetres, and the plane that cuts them.

A body plan is a set of :class:`Blob` in one frame: x to the patient's left (right of the image),
y to the back (down the image), z upwards, all in mm. A :class:`Section` is one axial plane
through it with the coordinates already bent by a smooth deformation; the same plan rendered at
many z gives a volume, at one z a 2D training image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lib.data.random_fields import Field, draw_up, knots_for
from lib.data.scene import Mask

N_WAVES = 4
"""How many shared smooth fields a section carries; every blob bends along its own mixture."""

FAR = 99.0
"""Level of the pixels that `Blob.near` leaves out."""

_STEP = 8
"""Pixels between those by which `Section.box` looks for a place."""

Box = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class Section:
    """One axial plane: x and y (H, W) in mm after deformation, z in mm, waves (N_WAVES, H, W)."""

    x: Field
    y: Field
    z: float
    waves: Field

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.x.shape[0], self.x.shape[1]

    def none(self) -> Mask:
        """An empty mask of this section's shape."""
        return np.zeros(self.shape, np.bool_)

    @cached_property
    def highest_wave(self) -> float:
        """Largest value of any wave, without its sign."""
        return max(float(self.waves.max()), -float(self.waves.min()))

    @cached_property
    def _coarse(self) -> tuple[Field, Field, float]:
        """Every eighth x and y, and how far (mm) a pixel may lie from the nearest of them."""
        x, y = self.x[::_STEP, ::_STEP], self.y[::_STEP, ::_STEP]
        steps = [float(np.abs(np.diff(c, axis=a)).max(initial=0)) for c in (x, y) for a in (0, 1)]
        return x, y, 2 * max(steps)

    def box(self, x: float, y: float, reach: float) -> Box:
        """Rows and columns that hold every pixel within ``reach`` mm of a place, and some more."""
        across, down, slack = self._coarse
        near = np.maximum(np.abs(across - x), np.abs(down - y)) <= reach + slack
        rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        if not len(rows):
            return slice(0, 0), slice(0, 0)
        return (
            slice(max(0, (int(rows[0]) - 1) * _STEP), (int(rows[-1]) + 2) * _STEP),
            slice(max(0, (int(columns[0]) - 1) * _STEP), (int(columns[-1]) + 2) * _STEP),
        )


@dataclass(frozen=True)
class Blob:
    """An ellipsoid with a wavy surface.

    Attributes:
        centre: x, y, z in mm.
        radii: along its own axes, mm.
        angle: turn in the axial plane, radians, from x towards y.
        waves: weight of each of the section's waves in its surface.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    angle: float = 0.0
    waves: tuple[float, ...] = (0.0,) * N_WAVES

    def level(self, section: Section) -> Field:
        """Float32 (H, W): below 0 inside, 0 on the surface, -1 at the middle."""
        return self._level(section, (slice(None), slice(None)))

    def _level(self, section: Section, box: Box) -> Field:
        rx, ry, rz = self.radii
        x, y = section.x[box] - self.centre[0], section.y[box] - self.centre[1]
        c, s = float(np.cos(self.angle)), float(np.sin(self.angle))
        u = x * (c / rx) + y * (s / rx)
        v = y * (c / ry) - x * (s / ry)
        u *= u
        v *= v
        u += v
        u += ((section.z - self.centre[2]) / rz) ** 2 - 1.0
        if any(self.waves):
            weights = np.asarray(self.waves, np.float32)
            u += np.tensordot(weights, section.waves[:, box[0], box[1]], axes=1)
        return u

    def box(self, section: Section, scale: float = 1.0) -> Box:
        """Rows and columns outside of which nothing is within the blob grown by ``scale``."""
        room = scale * scale + sum(map(abs, self.waves)) * section.highest_wave
        return section.box(self.centre[0], self.centre[1], max(self.radii[:2]) * float(room**0.5))

    def near(self, section: Section) -> Field:
        """As `level` where that is below 0, `FAR` at most places that are not: faster."""
        level = np.full(section.shape, FAR, np.float32)
        box = self.box(section)
        level[box] = self._level(section, box)
        return level

    def inside(self, section: Section, scale: float = 1.0) -> Mask:
        """The cut (H, W) of the blob grown by ``scale`` with this section."""
        if abs(section.z - self.centre[2]) > self.radii[2] * scale * 1.2:
            return section.none()
        mask, box = section.none(), self.box(section, scale)
        mask[box] = self._level(section, box) < scale * scale - 1.0
        return mask


def vary(
    rng: np.random.Generator,
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    angle: float = 0.0,
    shift: float = 4.0,
    stretch: float = 0.1,
    wave: float = 0.12,
) -> Blob:
    """A blob near the given one: moved (mm), stretched (fraction), turned and made wavy."""
    move = rng.normal(0.0, shift, 3)
    grow = np.exp(rng.normal(0.0, stretch, 3))
    return Blob(
        (centre[0] + move[0], centre[1] + move[1], centre[2] + move[2]),
        (radii[0] * grow[0], radii[1] * grow[1], radii[2] * grow[2]),
        angle + rng.normal(0.0, 0.12),
        tuple(float(w) for w in rng.normal(0.0, wave, N_WAVES)),
    )


@dataclass(frozen=True)
class View:
    """How a 2D image looks at a plane.

    Attributes:
        spacing: mm a pixel along rows.
        turn: radians.
        middle: x, y of the image's middle in mm.
        mirror: left and right swapped.
        aspect: spacing along columns over spacing along rows; a volume's slice that is not
            square reaches the network squeezed.
    """

    spacing: float
    turn: float = 0.0
    middle: tuple[float, float] = (0.0, 0.0)
    mirror: bool = False
    aspect: float = 1.0


def random_view(
    rng: np.random.Generator, size: int, field_of_view: float, spread: tuple[float, float]
) -> View:
    """A view of about ``field_of_view`` mm, sometimes far closer, turned and off centre.

    Args:
        rng: source of all randomness.
        size: image side in pixels.
        field_of_view: side of the usual image, mm.
        spread: how far the middle may lie from the origin, mm, when the view is close.
    """
    zoom = rng.uniform(0.85, 1.15) if rng.random() < 0.55 else rng.uniform(0.4, 0.85)
    slack = max(0.08, 1.0 - zoom)
    return View(
        spacing=field_of_view * zoom / size,
        turn=float(rng.normal(0.0, 0.12) if rng.random() < 0.85 else rng.uniform(-3.2, 3.2)),
        middle=(
            float(rng.uniform(-1, 1) * slack * spread[0]),
            float(rng.uniform(-1, 1) * slack * spread[1]),
        ),
        mirror=bool(rng.random() < 0.3),
        aspect=float(np.exp(rng.normal(0.0, 0.12))),
    )


def look(rng: np.random.Generator, view: View, size: int, z: float, bend: float = 5.0) -> Section:
    """The section a view sees, with its own random deformation of about ``bend`` mm."""
    half = (size - 1) / 2.0
    axis = ((np.arange(size) - half) * view.spacing).astype(np.float32)
    down = axis * np.float32(view.aspect)
    across = -axis if view.mirror else axis
    c, s = float(np.cos(view.turn)), float(np.sin(view.turn))
    x = across[None, :] * c - down[:, None] * s + view.middle[0]
    y = across[None, :] * s + down[:, None] * c + view.middle[1]
    coarse = knots_for(size, 70.0 / view.spacing)
    fine = knots_for(size, 28.0 / view.spacing)
    big = rng.standard_normal((2, coarse, coarse), np.float32)
    small = rng.standard_normal((2, fine, fine), np.float32)
    shifts = [
        bend * draw_up(b, size, size) + 0.22 * bend * draw_up(f, size, size)
        for b, f in zip(big, small, strict=True)
    ]
    knots = knots_for(size, 35.0 / view.spacing)
    waves = rng.standard_normal((N_WAVES, knots, knots), np.float32)
    return Section(x + shifts[0], y + shifts[1], z, draw_up(waves, size, size))

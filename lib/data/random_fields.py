"""Smooth random fields, fast: white noise on a coarse grid of knots, drawn up by cubic B-splines.

Upsampling is two small matrix products, which costs a tenth of filtering noise at full size. All
fields are float32 with mean about 0 and standard deviation about 1, in image order
(row, column) = (y, x).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
"""A float32 array, most often (H, W)."""

# Mean of the squared cubic B-spline weights at one place: 151/315. In two dimensions white noise
# of variance 1 on the knots therefore gives variance (151/315)^2 in between.
_SPLINE_POWER = 151.0 / 315.0


def knots_for(length: int, scale: float) -> int:
    """The number of knots that spaces them ``scale`` samples apart over ``length`` samples."""
    return max(1, round(length / scale)) + 3


@lru_cache(maxsize=256)
def spline_basis(length: int, knots: int) -> Field:
    """Cubic B-spline weights (length, knots); each row sums to 1.

    Args:
        length: number of samples.
        knots: number of knots, at least 4; the outer ones lie outside the samples.
    """
    place = (np.arange(length) + 0.5) / length * (knots - 3)
    first = np.minimum(place.astype(int), knots - 4)
    t = place - first
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1
    )
    basis = np.zeros((length, knots), np.float32)
    for offset in range(4):
        basis[np.arange(length), first + offset] = weights[:, offset] / 6.0
    basis.setflags(write=False)
    return basis


def draw_up(coefficients: Field, height: int, width: int) -> Field:
    """Spline surface (..., height, width) through grids of coefficients (..., rows, columns)."""
    rows, columns = coefficients.shape[-2:]
    drawn: Field = spline_basis(height, rows) @ coefficients @ spline_basis(width, columns).T
    drawn /= _SPLINE_POWER
    return drawn


def smooth_field(
    rng: np.random.Generator, height: int, width: int, scale: float, scale_x: float | None = None
) -> Field:
    """A smooth random field (height, width), unit variance.

    Args:
        rng: source of all randomness.
        height: rows.
        width: columns.
        scale: size of a bump in pixels (knot distance), along y and, without ``scale_x``, x.
        scale_x: size of a bump along x where it differs.
    """
    rows, columns = knots_for(height, scale), knots_for(width, scale_x or scale)
    return draw_up(rng.standard_normal((rows, columns), np.float32), height, width)


def smooth_volume(rng: np.random.Generator, shape: tuple[int, int, int], scale: float) -> Field:
    """A smooth random field (I, J, K), unit variance.

    Args:
        rng: source of all randomness.
        shape: of the array.
        scale: size of a bump in voxels, along each axis.
    """
    knots = [knots_for(length, scale) for length in shape]
    field = rng.standard_normal(knots, np.float32)
    for length, count in zip(shape, knots, strict=True):
        # Each product moves its axis to the end: after three of them the order is as before.
        field = np.tensordot(field, spline_basis(length, count), axes=(0, 1))
    field /= np.float32(_SPLINE_POWER**1.5)
    return field


def fractal_field(
    rng: np.random.Generator, height: int, width: int, scale: float, octaves: int = 3
) -> Field:
    """Sum of smooth fields, each half the size and 0.6 of the height of the last; unit variance."""
    total = np.zeros((height, width), np.float32)
    power = 0.0
    for octave in range(octaves):
        weight = 0.6**octave
        step = max(scale / 2**octave, 1.5)
        total += np.float32(weight) * smooth_field(rng, height, width, step)
        power += weight**2
    total /= np.float32(np.sqrt(power))
    return total


def soft_noise(rng: np.random.Generator, height: int, width: int, softness: float) -> Field:
    """White noise with neighbours mixed in (``softness`` 0..1); unit variance, correlated."""
    noise = rng.standard_normal((height, width), np.float32)
    if softness <= 0:
        return noise
    kernel = np.float32(softness * 0.5)
    mixed = noise.copy()
    mixed[1:] += kernel * noise[:-1]
    mixed[:-1] += kernel * noise[1:]
    again = mixed.copy()
    again[:, 1:] += kernel * mixed[:, :-1]
    again[:, :-1] += kernel * mixed[:, 1:]
    again /= np.float32(1.0 + 2.0 * kernel**2)
    return again

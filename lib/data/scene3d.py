"""A scene in a volume: what every voxel is made of, and which named objects there are.

Arrays are (I, J, K). Shapes are drawn on a grid that a smooth random deformation has bent, and only
in the box they need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from lib.data.random_fields import Field, smooth_volume

Mask3D = npt.NDArray[np.bool_]
Vector = npt.NDArray[np.float64]
"""Three numbers along i, j, k."""

Crop = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Grid3d:
    """Places of the voxels after bending.

    Attributes:
        places: float32 (3, I, J, K), voxels from the array's corner.
        wave: (I, J, K), a smooth field that makes surfaces uneven.
        bend: how far (voxels) a place lies from its voxel at most.
    """

    places: Field
    wave: Field
    bend: float

    @classmethod
    def bent(cls, rng: np.random.Generator, size: int, strength: float) -> Grid3d:
        """A cube of ``size`` voxels, bent by about ``strength`` voxels."""
        shape = (size, size, size)
        axes = np.meshgrid(*[np.arange(size, dtype=np.float32)] * 3, indexing="ij", sparse=True)
        shifts = [np.float32(strength) * smooth_volume(rng, shape, size / 3) for _ in range(3)]
        places = np.stack([a + s for a, s in zip(axes, shifts, strict=True)])
        wave = smooth_volume(rng, shape, size / rng.uniform(5, 10))
        return cls(places, wave, max(float(np.abs(s).max()) for s in shifts))

    @property
    def size(self) -> int:
        """Edge of the cube."""
        return int(self.wave.shape[0])

    def crop(self, centre: Vector, reach: float) -> Crop:
        """The box that holds every voxel whose place is within ``reach`` of ``centre``."""
        low = np.floor(centre - reach - self.bend).astype(int)
        high = np.ceil(centre + reach + self.bend).astype(int) + 1
        i, j, k = (
            slice(max(0, int(a)), max(0, min(self.size, int(b))))
            for a, b in zip(low, high, strict=True)
        )
        return i, j, k

    def everywhere(self) -> Mask3D:
        """A mask of all voxels."""
        return np.ones(self.wave.shape, np.bool_)


@dataclass(frozen=True)
class Shape3d:
    """A shape in its box: ``level`` is below 1 inside and grows outwards."""

    crop: Crop
    level: Field

    def inside(self, size: int, level: float = 1.0) -> Mask3D:
        """The mask (S, S, S) of what lies below ``level``."""
        mask = np.zeros((size, size, size), np.bool_)
        mask[self.crop] = self.level < level
        return mask


def blob(
    grid: Grid3d,
    centre: Vector,
    radii: Vector,
    turn: npt.NDArray[np.float64],
    rough: float = 0.15,
) -> Shape3d:
    """An ellipsoid with an uneven surface.

    Args:
        grid: where it is drawn.
        centre: voxels.
        radii: along its own axes, voxels.
        turn: (3, 3) rotation.
        rough: height of the unevenness as a share of the radius.
    """
    crop = grid.crop(centre, float(radii.max()) * (1 + 3 * rough))
    away = grid.places[(slice(None), *crop)] - centre[:, None, None, None].astype(np.float32)
    own = np.tensordot((turn / radii[:, None]).astype(np.float32), away, axes=1)
    level = np.sqrt(np.einsum("aijk,aijk->ijk", own, own))
    level -= np.float32(rough) * grid.wave[crop]
    return Shape3d(crop, level)


def tube(grid: Grid3d, points: Sequence[Vector], radii: tuple[float, float]) -> Shape3d:
    """A round tube through some points, its radius changing evenly from the first to the last.

    Args:
        grid: where it is drawn.
        points: at least two, voxels.
        radii: at both ends, voxels.
    """
    knots = np.stack(points)
    length = float(np.linalg.norm(np.diff(knots, axis=0), axis=1).sum())
    steps = np.linspace(0, 1, max(2, int(1.5 * length / max(min(radii), 1.0))))
    path = CubicSpline(np.linspace(0, 1, len(knots)), knots)(steps)
    middle, reach = path.mean(axis=0), np.abs(path - path.mean(axis=0)).max() + max(radii)
    whole = grid.crop(middle, float(reach))
    level = np.full([s.stop - s.start for s in whole], 9.0, np.float32)
    corner = np.array([s.start for s in whole])
    for place, radius in zip(path, np.linspace(*radii, len(path)), strict=True):
        near = grid.crop(place, radius)
        away = grid.places[(slice(None), *near)] - place[:, None, None, None].astype(np.float32)
        distance = np.sqrt(np.einsum("aijk,aijk->ijk", away, away)) / np.float32(radius)
        i, j, k = (
            slice(s.start - c, max(s.start, s.stop) - c) for s, c in zip(near, corner, strict=True)
        )
        part = level[i, j, k]
        np.minimum(part, distance[tuple(slice(n) for n in part.shape)], out=part)
    return Shape3d(whole, level)


@dataclass
class Scene3d:
    """A volume being painted, back to front.

    Attributes:
        values: float32 (I, J, K), in the unit of the kind (HU for CT, 0..1 elsewhere).
        labels: uint8 (I, J, K), the topmost object; 0 = nothing named.
        names: the name of label ``n`` is ``names[n - 1]``.
        parents: label of an inner object -> label of what holds it.
    """

    values: Field
    labels: npt.NDArray[np.uint8]
    names: list[str] = field(default_factory=list)
    parents: dict[int, int] = field(default_factory=dict)

    @classmethod
    def blank(cls, size: int, value: float) -> Scene3d:
        """A cube of one value without objects."""
        shape = (size, size, size)
        return cls(np.full(shape, value, np.float32), np.zeros(shape, np.uint8))

    def paint(
        self, mask: Mask3D, value: float | Field, name: str | None = None, inside: int = 0
    ) -> int:
        """Give the voxels of a mask a value and, with a name, an owner; its label or 0.

        Args:
            mask: (I, J, K).
            value: of all its voxels, or one for each voxel of the scene.
            name: of a new object; without one its voxels belong to nobody.
            inside: label of the object that holds this one.
        """
        self.values[mask] = value[mask] if isinstance(value, np.ndarray) else np.float32(value)
        label = 0
        if name is not None:
            self.names.append(name)
            label = len(self.names)
            if inside:
                self.parents[label] = inside
        self.labels[mask] = label
        return label

    def mask_of(self, label: int) -> Mask3D:
        """An object with everything it holds (I, J, K)."""
        wanted = {label}
        for inner in sorted(self.parents):
            if self.parents[inner] in wanted:
                wanted.add(inner)
        mask: Mask3D = np.isin(self.labels, sorted(wanted))
        return mask

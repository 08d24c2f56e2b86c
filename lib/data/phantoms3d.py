"""Random synthetic volumes, each with exact masks of its objects.

The counterpart of `lib.data.phantoms` for networks that see a cube: a body with nested and
touching organs, tubes, bones, small lesions and hollow things, or tissue without any anatomy, as CT
(HU) or MR (signal) would show it, with noise, coil gain, blur and thick slices. Shapes and contrast
vary widely on purpose, so that a network learns to follow the prompt.

Arrays are (I, J, K); a voxel is meant to be 1.5 mm wide, which decides how large things are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lib.data.random_fields import Field, smooth_volume
from lib.data.scene3d import Grid3d, Mask3D, Scene3d, Vector, blob, tube
from lib.errors import OptionError, Samed2dError

Modality = Literal["ct", "mr"]

PHANTOM3D_KINDS = ("body", "tissue")
"""Scenes: organs in a body, or regions that fill the whole cube."""

MIN_VOXELS = 60
"""Smallest object: 0.2 ml."""

MAX_SHARE = 0.6
"""Largest object, as a share of the cube."""

_ATTEMPTS = 20
_MIN_CONTRAST = 0.25
"""Smallest step between an object and what is around it, in standard deviations of the two."""

_TISSUES = {
    "fat": -100.0, "muscle": 50.0, "organ": 95.0, "fluid": 8.0, "vessel": 180.0, "bone": 450.0,
    "lung": -820.0, "gas": -990.0, "lesion": 35.0,
}  # fmt: skip
"""Usual HU."""


@dataclass(frozen=True)
class Phantom3d:
    """One synthetic volume with its objects.

    Attributes:
        values: float32 (S, S, S), HU or signal (0 or more).
        masks: bool (N, S, S, S), N >= 1; one may hold another.
        names: N names, such as "organ".
        modality: what the values are.
        kind: one of PHANTOM3D_KINDS.
    """

    values: Field
    masks: npt.NDArray[np.bool_]
    names: tuple[str, ...]
    modality: Modality
    kind: str


class _Brush:
    """Paints random things into a scene; holds what they share.

    Args:
        rng: source of all randomness.
        grid: bent places.
        scene: painted into.
        modality: decides values.
    """

    def __init__(
        self, rng: np.random.Generator, grid: Grid3d, scene: Scene3d, modality: Modality
    ) -> None:
        self.rng, self.grid, self.scene, self.modality = rng, grid, scene, modality
        shape = (grid.size, grid.size, grid.size)
        self._texture = smooth_volume(rng, shape, float(rng.uniform(2.0, 6.0)))
        # Signals of an MR sequence: any tissue may be bright or dark.
        self._signals = {name: float(rng.uniform(0.05, 1.0)) for name in _TISSUES}
        self._signals |= {"gas": 0.0, "lung": float(rng.uniform(0.0, 0.12))}

    def value(self, tissue: str) -> float:
        """A value of this tissue."""
        if self.modality == "mr":
            return max(0.0, self._signals[tissue] * float(np.exp(self.rng.normal(0, 0.12))))
        usual = _TISSUES[tissue]
        spread = {"bone": 180.0, "lung": 60.0, "gas": 5.0, "vessel": 60.0}.get(tissue, 28.0)
        return usual + float(self.rng.normal(0, spread))

    def textured(self, tissue: str) -> float | Field:
        """A value of this tissue, one for all voxels or with the scene's texture."""
        value = self.value(tissue)
        if self.rng.random() < 0.5:
            return value
        depth = 0.08 * self.rng.random() * (max(abs(value), 0.2) if self.modality == "mr" else 250)
        return np.float32(value) + np.float32(depth) * self._texture

    def turn(self) -> npt.NDArray[np.float64]:
        """A random rotation (3, 3)."""
        seed = int(self.rng.integers(1 << 31))
        return np.asarray(Rotation.random(random_state=seed).as_matrix())

    def place_in(self, mask: Mask3D) -> Vector | None:
        """A random voxel of a mask, None where it is empty."""
        found = np.flatnonzero(mask)
        if not len(found):
            return None
        chosen = int(found[self.rng.integers(len(found))])
        return np.array(np.unravel_index(chosen, mask.shape), np.float64)

    def organ(self, within: Mask3D, radius: float, tissue: str, name: str) -> int:
        """An uneven ellipsoid, now and then hollow or with a core; its label, 0 if none."""
        centre = self.place_in(within)
        if centre is None:
            return 0
        radii = radius * np.exp(self.rng.normal(0, 0.3, 3))
        shape = blob(self.grid, centre, radii, self.turn(), self.rng.uniform(0.0, 0.3))
        label = self.scene.paint(shape.inside(self.grid.size) & within, self.textured(tissue), name)
        if self.rng.random() < 0.3:
            core = shape.inside(self.grid.size, self.rng.uniform(0.45, 0.85))
            core &= self.scene.labels == label
            inner = str(
                self.rng.choice(["fluid", "gas", "lesion", "vessel"], p=[0.4, 0.2, 0.2, 0.2])
            )
            self.scene.paint(core, self.textured(inner), f"inside of {name}", label)
        return label

    def vessel(self, within: Mask3D, radius: float, tissue: str, name: str) -> None:
        """A winding tube across a mask, now and then with a branch."""
        ends = [self.place_in(within) for _ in range(int(self.rng.integers(2, 5)))]
        points = [end for end in ends if end is not None]
        if len(points) < 2:
            return
        tip = radius * self.rng.uniform(0.5, 1.0)
        inside = tube(self.grid, points, (radius, tip)).inside(self.grid.size)
        branch = self.place_in(within)
        if branch is not None and self.rng.random() < 0.4:
            start = points[len(points) // 2]
            inside |= tube(self.grid, [start, branch], (tip, 0.6 * tip)).inside(self.grid.size)
        self.scene.paint(inside & within, self.value(tissue), name)

    def spine(self, within: Mask3D) -> None:
        """A row of bones with discs between them."""
        size = self.grid.size
        radius = size * self.rng.uniform(0.06, 0.12)
        start = size * self.rng.uniform(0.25, 0.75, 3)
        along = self.turn()[0]
        value = self.textured("bone")
        for number in range(int(self.rng.integers(3, 7))):
            centre = start + along * (number - 2.5) * radius * 1.7
            radii = radius * np.array([1.0, 1.0, 0.7])
            basis = np.linalg.svd(along[None])[2][::-1]
            bone = blob(self.grid, centre, radii, basis, 0.1).inside(size) & within
            self.scene.paint(bone, value, f"bone {number + 1}")

    def lesions(self, owners: list[int], count: int) -> None:
        """Small things inside of organs, or of the body."""
        for number in range(count):
            owner = owners[self.rng.integers(len(owners))] if owners else 0
            within = self.scene.labels == owner
            centre = self.place_in(within)
            if centre is None:
                continue
            radius = float(np.exp(self.rng.uniform(np.log(2.2), np.log(9.0))))
            radii = radius * np.exp(self.rng.normal(0, 0.2, 3))
            shape = blob(self.grid, centre, radii, self.turn(), self.rng.uniform(0, 0.35))
            tissue = str(
                self.rng.choice(["lesion", "fluid", "vessel", "bone"], p=[0.5, 0.2, 0.2, 0.1])
            )
            inside = shape.inside(self.grid.size) & within
            self.scene.paint(inside, self.textured(tissue), f"lesion {number + 1}", owner)


def _body(brush: _Brush) -> None:
    """Organs, vessels, bones and lesions in a body, or in a cube cut out of one."""
    rng, grid, scene = brush.rng, brush.grid, brush.scene
    size = grid.size
    inside = grid.everywhere()
    if rng.random() < 0.6:  # else the cube lies inside of the body
        middle = size / 2 + rng.normal(0, 0.12 * size, 3)
        shell = blob(grid, middle, size * rng.uniform(0.42, 0.75, 3), np.eye(3), 0.03)
        inside = shell.inside(size)
        scene.paint(inside, brush.value("fat"))
        inside = shell.inside(size, rng.uniform(0.82, 0.97))
    scene.paint(
        inside, brush.textured(str(rng.choice(["fat", "muscle", "organ"], p=[0.4, 0.4, 0.2])))
    )
    owners = []
    for number in range(int(rng.integers(2, 10))):
        radius = size * float(np.exp(rng.uniform(np.log(0.06), np.log(0.3))))
        tissue = str(rng.choice(["organ", "muscle", "fluid", "lung"], p=[0.55, 0.2, 0.15, 0.1]))
        owners.append(brush.organ(inside, radius, tissue, f"organ {number + 1}"))
    if rng.random() < 0.5:
        brush.spine(inside)
    for number in range(int(rng.integers(0, 4))):
        radius = float(np.exp(rng.uniform(np.log(1.8), np.log(9.0))))
        tissue = str(rng.choice(["vessel", "muscle", "gas"], p=[0.7, 0.2, 0.1]))
        brush.vessel(inside, radius, tissue, f"tube {number + 1}")
    brush.lesions([owner for owner in owners if owner], int(rng.integers(0, 5)))


def _tissue(brush: _Brush) -> None:
    """Regions that touch each other: at each voxel that of the highest of several fields."""
    rng, size = brush.rng, brush.grid.size
    shape = (size, size, size)
    scale = size / rng.uniform(1.5, 5.0)
    fields = np.stack([smooth_volume(rng, shape, scale) for _ in range(int(rng.integers(3, 7)))])
    winner = fields.argmax(axis=0)
    tissues = rng.choice(["fat", "muscle", "organ", "fluid", "vessel", "lung"], len(fields))
    owners = []
    for number, tissue in enumerate(tissues):
        parts, count = ndimage.label(winner == number)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        brush.scene.paint(winner == number, value := brush.textured(str(tissue)))
        for part in np.argsort(-sizes)[:2]:
            owners.append(brush.scene.paint(parts == part + 1, value, f"region {number + 1}"))
    brush.lesions(owners, int(rng.integers(0, 6)))


_MAKERS: dict[str, Callable[[_Brush], None]] = {"body": _body, "tissue": _tissue}


def _scan(rng: np.random.Generator, values: Field, modality: Modality) -> Field:
    """Blur, coil gain and noise; float32 (S, S, S)."""
    picture = values
    sigma = rng.uniform(0.0, 1.1)
    if sigma > 0.3:
        picture = np.asarray(ndimage.gaussian_filter(picture, sigma, truncate=2.5), np.float32)
    noise = rng.standard_normal(picture.shape, np.float32)
    if rng.random() < 0.5:  # the kernel of a reconstruction: neighbours along rows are alike
        noise[1:] += np.float32(0.6) * noise[:-1]
    if modality == "ct":
        strength = np.float32(np.exp(rng.uniform(np.log(4), np.log(45))))
        return np.clip(picture + strength * noise, -1024, 3071)
    size = len(values)
    coil = smooth_volume(rng, (size, size, size), size / 1.5)
    gain = np.exp(np.float32(rng.uniform(0, 0.3)) * coil)
    strength = np.float32(np.exp(rng.uniform(np.log(0.008), np.log(0.08))))
    other = strength * np.roll(noise, 7, axis=1)  # the second channel (Gudbjartsson & Patz 1995)
    return np.hypot(picture * gain + strength * noise, other) * np.float32(rng.uniform(200, 2000))


def _thicken(
    rng: np.random.Generator, values: Field, masks: npt.NDArray[np.bool_]
) -> tuple[Field, npt.NDArray[np.bool_]]:
    """Thick slices along one axis: values averaged over them, masks drawn on their middles."""
    axis, thick = int(rng.choice(3, p=[0.15, 0.15, 0.7])), float(rng.uniform(1.5, 4.5))
    size = values.shape[axis]
    count = int(np.ceil(size / thick))
    middles = np.minimum(((np.arange(count) + 0.5) * thick).astype(int), size - 1)
    smooth = ndimage.uniform_filter1d(values, max(1, round(thick)), axis=axis)
    slabs = np.take(smooth, middles, axis=axis)
    place = (np.arange(size) + 0.5) / thick - 0.5
    low = np.clip(np.floor(place).astype(int), 0, count - 1)
    high = np.minimum(low + 1, count - 1)
    share = np.clip(place - low, 0, 1).astype(np.float32)
    share = share.reshape([-1 if a == axis else 1 for a in range(3)])
    drawn = np.take(slabs, low, axis=axis) * (1 - share) + np.take(slabs, high, axis=axis) * share
    nearest = middles[np.clip(np.rint(place).astype(int), 0, count - 1)]
    return drawn.astype(np.float32), np.take(masks, nearest, axis=axis + 1)


def _stands_out(values: Field, mask: Mask3D) -> bool:
    """Whether an object differs from what is around it, in mean against the spread of both."""
    spans = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    crop = tuple(slice(max(0, int(s[0]) - 3), int(s[-1]) + 4) for s in spans)
    part, near = mask[crop], values[crop]
    ring = ndimage.uniform_filter(part.astype(np.float32), 5, mode="nearest") > 0.02
    around = near[ring & ~part]
    if not len(around):
        return False
    inside = near[part]
    step = abs(float(inside.mean() - around.mean()))
    return step > _MIN_CONTRAST * float(inside.std() + around.std())


def make_phantom3d(
    rng: np.random.Generator,
    size: int = 128,
    kind: str | None = None,
    modality: Modality | None = None,
    most: int = 4,
) -> Phantom3d:
    """Draw one random volume with its masks.

    Args:
        rng: source of all randomness; the same state gives the same phantom.
        size: edge of the cube in voxels, 32 to 256.
        kind: one of PHANTOM3D_KINDS; None draws one.
        modality: "ct" or "mr"; None draws one.
        most: at most so many objects, drawn at random.

    Raises:
        OptionError: unknown kind, or a size out of range.
        Samed2dError: no visible object in many attempts (a fault of this module).
    """
    if kind is not None and kind not in _MAKERS:
        raise OptionError(f"phantom {kind!r}", ", ".join(PHANTOM3D_KINDS), "choose one of these")
    if not 32 <= size <= 256:
        raise OptionError(f"phantom size {size}", "32 to 256 voxels", "choose a size in range")
    drawn_kind = str(rng.choice(PHANTOM3D_KINDS, p=[0.75, 0.25])) if kind is None else kind
    shown: Modality = modality or ("ct" if rng.random() < 0.6 else "mr")
    for _ in range(_ATTEMPTS):
        scene = Scene3d.blank(size, -1000.0 if shown == "ct" else 0.0)
        grid = Grid3d.bent(rng, size, size * rng.uniform(0.0, 0.06))
        _MAKERS[drawn_kind](_Brush(rng, grid, scene, shown))
        chosen = rng.permutation(len(scene.names))[: 3 * most] + 1
        if not len(chosen):
            continue
        masks = np.stack([scene.mask_of(int(label)) for label in chosen])
        values = _scan(rng, scene.values, shown)
        if rng.random() < 0.6:
            values, masks = _thicken(rng, values, masks)
        kept = [n for n, mask in enumerate(masks) if _usable(values, mask)][:most]
        if kept:
            names = tuple(scene.names[chosen[n] - 1] for n in kept)
            return Phantom3d(values, masks[kept], names, shown, drawn_kind)
    raise Samed2dError(
        f"no visible object in {_ATTEMPTS} volumes of kind {drawn_kind}",
        "at least one",
        "report the seed; meanwhile use another",
    )


def _usable(values: Field, mask: Mask3D) -> bool:
    voxels = np.count_nonzero(mask)
    return MIN_VOXELS <= voxels <= MAX_SHARE * mask.size and _stands_out(values, mask)

"""Random synthetic 2D images of many kinds, each with exact masks of its objects.

They stand in for real images where none can be shipped: the network's first training, tests,
benchmarks. Contrast, texture, noise, place, size and turn vary widely on purpose (domain
randomisation), so that a network learns to follow the prompt rather than the look of one scanner.
Images are 8 bit, as the intensity step hands them to the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.data import abdomen, brain
from lib.data.abstract import make_shapes
from lib.data.acquisition import (
    Image8,
    bias_field,
    blur,
    ct_noise,
    ct_window,
    rician,
    streaks,
    stretch,
    window,
)
from lib.data.body import look, random_view
from lib.data.chest import render_chest, render_heart
from lib.data.endoscopy import make_endoscopy
from lib.data.fundus import make_fundus
from lib.data.microscopy import make_microscopy
from lib.data.radiograph import make_xray
from lib.data.random_fields import Field, fractal_field, smooth_field
from lib.data.scene import Mask, Scene, SceneObject, bounding_box
from lib.data.scenes import make_scene
from lib.data.skin import make_dermoscopy
from lib.data.ultrasound import make_ultrasound
from lib.errors import OptionError, Samed2dError

MIN_AREA = 0.002
"""Smallest object, as a fraction of the image."""

MAX_AREA = 0.75
"""Largest object, as a fraction of the image: nobody clicks on the background."""

MIN_CONTRAST = 5.0
"""Smallest difference, in 8-bit steps, between an object and the ring around it."""

_ATTEMPTS = 20

_TEXTURED = ("scenes",)
"""Kinds whose objects may differ from what is around them by their texture alone."""


@dataclass(frozen=True)
class Phantom:
    """One synthetic image with its objects.

    Attributes:
        image: uint8 (H, W) or (H, W, 3).
        masks: bool (N, H, W), N >= 1, each one connected object; they may overlap (a lesion and
            its organ).
        names: N names, such as "liver".
        kind: one of PHANTOM_KINDS.
    """

    image: Image8
    masks: npt.NDArray[np.bool_]
    names: tuple[str, ...]
    kind: str


def _finish_ct(rng: np.random.Generator, scene: Scene, part: str) -> Image8:
    """Blur, texture, noise, now and then streaks; then a display window."""
    size = scene.values.shape[0]
    picture = scene.values + np.float32(rng.uniform(2, 7)) * fractal_field(
        rng, size, size, size / 40
    )
    picture = blur(picture, rng.uniform(0.4, 1.4))
    picture = ct_noise(rng, picture, float(np.exp(rng.uniform(np.log(4), np.log(32)))))
    if rng.random() < 0.08:
        picture = picture + streaks(rng, size, size, rng.uniform(10, 50))
    return window(picture, *ct_window(rng, part))


def _finish_mr(rng: np.random.Generator, scene: Scene) -> Image8:
    """Texture, bias field, blur, Rician noise; then percentiles; now and then inverted."""
    size = scene.values.shape[0]
    picture = scene.values * (1 + 0.05 * fractal_field(rng, size, size, size / 30))
    picture = picture * bias_field(rng, size, size, rng.uniform(0, 0.35))
    picture = blur(picture, rng.uniform(0.4, 1.3))
    picture = rician(rng, picture, float(np.exp(rng.uniform(np.log(0.008), np.log(0.08)))))
    image = stretch(picture, rng.uniform(0, 1), rng.uniform(98.5, 99.9))
    return np.bitwise_not(image) if rng.random() < 0.06 else image


def _ct_abdomen(rng: np.random.Generator, size: int) -> tuple[Image8, Scene]:
    plan = abdomen.sample_abdomen(rng)
    view = random_view(rng, size, 370.0, (110.0, 70.0))
    section = look(rng, view, size, float(rng.uniform(*abdomen.Z_RANGE)))
    scene = abdomen.render_abdomen(plan, section)
    return _finish_ct(rng, scene, "abdomen"), scene


def _ct_chest(rng: np.random.Generator, size: int) -> tuple[Image8, Scene]:
    section = look(rng, random_view(rng, size, 370.0, (100.0, 70.0)), size, 0.0)
    scene = render_chest(rng, section)
    return _finish_ct(rng, scene, "chest"), scene


def _mr_brain(rng: np.random.Generator, size: int) -> tuple[Image8, Scene]:
    plan = brain.sample_brain(rng)
    view = random_view(rng, size, 225.0, (40.0, 50.0))
    section = look(rng, view, size, float(rng.uniform(*brain.Z_RANGE)), bend=3.0)
    folds = smooth_field(rng, size, size, rng.uniform(8.0, 11.0) / view.spacing)
    scene = brain.render_brain(plan, section, folds)
    return _finish_mr(rng, scene), scene


def _mr_cardiac(rng: np.random.Generator, size: int) -> tuple[Image8, Scene]:
    section = look(rng, random_view(rng, size, 230.0, (50.0, 50.0)), size, 0.0, bend=3.0)
    scene = render_heart(rng, section)
    return _finish_mr(rng, scene), scene


_MAKERS: dict[str, Callable[[np.random.Generator, int], tuple[Image8, Scene]]] = {
    "ct_abdomen": _ct_abdomen,
    "ct_chest": _ct_chest,
    "mr_brain": _mr_brain,
    "mr_cardiac": _mr_cardiac,
    "ultrasound": make_ultrasound,
    "xray": make_xray,
    "microscopy": make_microscopy,
    "dermoscopy": make_dermoscopy,
    "endoscopy": make_endoscopy,
    "shapes": make_shapes,
    "scenes": make_scene,
    "fundus": make_fundus,
}

PHANTOM_KINDS: tuple[str, ...] = tuple(_MAKERS)
"""All kinds, in a fixed order."""

PHANTOM_SHARES: tuple[float, ...] = (
    *(0.09, 0.05, 0.07, 0.06, 0.10, 0.07),
    *(0.09, 0.06, 0.08, 0.07, 0.20, 0.06),
)
"""How often each of PHANTOM_KINDS is drawn where none is asked for; they add up to 1."""


def _grey(image: Image8) -> Field:
    """Mean of the channels, float32 (H, W); three times as fast as the mean over the last axis."""
    if image.ndim == 2:
        return image.astype(np.float32)
    red, green, blue = (image[..., channel].astype(np.float32) for channel in range(3))
    return (red + green + blue) / np.float32(3)


def _spread(values: Field) -> float:
    """Standard deviation of grey values (n,), in one pass."""
    mean = float(values.mean())
    return float(np.sqrt(max(float(values @ values) / len(values) - mean * mean, 0.0)))


def _stands_out(grey: Field, mask: Mask, by_texture: bool) -> bool:
    """Whether mean (or texture) differ between the mask and a ring of a few pixels around it."""
    pad = max(3, mask.shape[0] // 50)
    box = bounding_box(mask, pad)
    part, values = mask[box], grey[box]
    near = ndimage.uniform_filter(part.astype(np.float32), 2 * pad - 1, mode="constant") > 0.02
    ring = near & ~part
    if not ring.any():
        return False
    inside, around = values[part], values[ring]
    step = abs(float(inside.mean() - around.mean()))
    if not by_texture:
        return step >= MIN_CONTRAST
    rough, smooth = sorted((_spread(inside), _spread(around)), reverse=True)
    return step >= max(MIN_CONTRAST, 0.35 * smooth) or rough - smooth >= max(8.0, 0.4 * rough)


def _visible(
    image: Image8, objects: Iterable[SceneObject], by_texture: bool, most: int | None
) -> list[SceneObject]:
    """The first ``most`` objects one can see: not nearly the whole image, and with contrast."""
    grey = _grey(image)
    seen = (
        o
        for o in objects
        if np.count_nonzero(o.mask) <= MAX_AREA * o.mask.size
        and _stands_out(grey, o.mask, by_texture)
    )
    return list(islice(seen, most))


def make_phantom(
    rng: np.random.Generator, size: int = 256, kind: str | None = None, most: int | None = None
) -> Phantom:
    """Draw one random image with its masks.

    Args:
        rng: source of all randomness; the same state gives the same phantom.
        size: side in pixels, 64 to 2048.
        kind: one of PHANTOM_KINDS; None draws one.
        most: at most so many objects, drawn at random, which saves time; None: all of them.

    Raises:
        OptionError: unknown kind, or a size out of range.
        Samed2dError: no visible object in many attempts (a fault of this module).
    """
    if kind is not None and kind not in _MAKERS:
        raise OptionError(f"phantom kind {kind!r}", ", ".join(PHANTOM_KINDS), "choose one of these")
    if not 64 <= size <= 2048:
        raise OptionError(f"phantom size {size}", "64 to 2048 pixels", "choose a size in range")
    chosen = str(rng.choice(PHANTOM_KINDS, p=PHANTOM_SHARES)) if kind is None else kind
    min_area = int(np.ceil(MIN_AREA * size * size))
    for _ in range(_ATTEMPTS):
        image, scene = _MAKERS[chosen](rng, size)
        found = scene.objects(min_area, whole_organs=bool(rng.random() < 0.7))
        if most is not None:
            found = [found[index] for index in rng.permutation(len(found))]
        objects = _visible(image, found, chosen in _TEXTURED, most)
        if objects:
            masks = np.stack([o.mask for o in objects])
            return Phantom(image, masks, tuple(o.name for o in objects), chosen)
    raise Samed2dError(
        f"no visible object in {_ATTEMPTS} phantoms of kind {chosen}",
        "at least one",
        "report the seed; meanwhile use another",
    )

"""Cubes to learn from: phantoms, and windows of labelled volumes, randomly changed.

Making a cube costs about as much as learning from it, so each is used several times, turned and
toned anew. Cubes are (S, S, S) in the order of the array; a voxel is meant to be 1.5 mm wide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import nibabel
import numpy as np
from nibabel.processing import resample_from_to, resample_to_output
from numpy.typing import NDArray
from scipy import ndimage

from lib.data.phantoms3d import MIN_VOXELS, make_phantom3d
from lib.data.random_fields import Field, smooth_volume
from lib.data.volume_cases import find_cases, read_case
from lib.imaging.cube import standardised
from lib.imaging.volume import Volume
from lib.prompts.simulate3d import interior_voxel

SPACING = 1.5
"""Edge of a voxel in mm."""

MOST_LABELS = 255
CLIP = 8.0
"""Largest standard score that the changes of grey values leave."""


@dataclass(frozen=True)
class LabelledVolume:
    """A volume with its label map, resampled for learning.

    Attributes:
        name: of the case.
        patient: whose it is.
        values: (I, J, K) float32, HU or signal.
        labels: (I, J, K) uint8, 0 where there is no object.
        names: value of the label map -> name.
    """

    name: str
    patient: str
    values: Field
    labels: NDArray[np.uint8]
    names: dict[int, str]


@dataclass(frozen=True)
class Window3d:
    """A cube as the network sees it.

    Attributes:
        volume: (S, S, S) float32, standard scores.
        masks: (N, S, S, S) bool, N >= 1.
    """

    volume: Field
    masks: NDArray[np.bool_]


@dataclass(frozen=True)
class Mixture3d:
    """What a stream of cubes consists of.

    Attributes:
        real_share: windows of labelled volumes; the others are phantoms.
        uses: how often a cube is drawn on average, each time changed anew.
        stock: cubes that are kept for that.
        objects: at most so many of one cube.
    """

    real_share: float = 0.2
    uses: int = 4
    stock: int = 48
    objects: int = 3


def read_volumes(folder: Path) -> list[LabelledVolume]:
    """All labelled volumes of a folder (`lib.data.volume_cases`), resampled to `SPACING`.

    Raises:
        ImageError: there is none, or a file cannot be read.
    """
    found = []
    for files in find_cases(folder):
        volume, labels = read_case(files)
        names = files.names or {int(v): str(v) for v in np.unique(labels) if v}
        found.append(resampled(files.case, files.case, volume, labels, names))
    return found


def resampled(
    name: str,
    patient: str,
    volume: Volume,
    labels: NDArray[np.generic],
    names: Mapping[int, str],
) -> LabelledVolume:
    """A volume and its label map along the patient's axes, in voxels of `SPACING`.

    Args:
        name: of the case.
        patient: whose it is.
        volume: with grey values.
        labels: (I, J, K) whole numbers on its grid; of more than `MOST_LABELS` named values the
            first ones count.
        names: value of the label map -> name.
    """
    kept = dict(enumerate(list(names.items())[:MOST_LABELS], start=1))
    own = np.zeros(labels.shape, np.uint8)
    for number, (value, _) in kept.items():
        own[labels == value] = number
    image = nibabel.nifti1.Nifti1Image(  # type: ignore[no-untyped-call]
        np.asarray(volume.array, np.float32), volume.affine
    )
    image = nibabel.funcs.as_closest_canonical(image)  # type: ignore[no-untyped-call]
    image = resample_to_output(image, SPACING, order=1)  # type: ignore[no-untyped-call]
    drawn = nibabel.nifti1.Nifti1Image(own, volume.affine)  # type: ignore[no-untyped-call]
    drawn = resample_from_to(drawn, image, order=0)  # type: ignore[no-untyped-call]
    return LabelledVolume(
        name,
        patient,
        np.asarray(image.dataobj, np.float32),
        np.asarray(drawn.dataobj, np.uint8),
        {number: called for number, (_, called) in kept.items()},
    )


def windows_round(volume: LabelledVolume, size: int) -> Iterator[tuple[str, Window3d]]:
    """A cube round the innermost voxel of each object that is large enough: its name and the cube.

    Args:
        volume: labelled.
        size: edge S.
    """
    for value in volume.names:
        mask = volume.labels == value
        if np.count_nonzero(mask) < MIN_VOXELS:
            continue
        corner = [place - size // 2 for place in interior_voxel(mask).index]
        values = cut(volume.values, corner, size, 0.0)
        shown = np.clip(standardised(values), -CLIP, CLIP)
        yield volume.names[value], Window3d(shown, cut(mask, corner, size, False)[None])


def window_stream(
    volumes: Sequence[LabelledVolume], mixture: Mixture3d, size: int, rng: np.random.Generator
) -> Iterator[Window3d]:
    """Endless cubes.

    Args:
        volumes: labelled ones; phantoms alone where there are none.
        mixture: how often which is drawn.
        size: edge S.
        rng: source of all randomness.
    """
    stock: list[Window3d] = []
    while True:
        if len(stock) < mixture.stock // 4 or rng.random() < 1 / mixture.uses:
            real = bool(volumes) and rng.random() < mixture.real_share
            fresh = _real(volumes, size, rng) if real else _phantom(size, rng)
            if fresh is None:
                continue
            if len(stock) < mixture.stock:
                stock.append(fresh)
            else:
                stock[rng.integers(len(stock))] = fresh
        else:
            fresh = stock[rng.integers(len(stock))]
        yield _changed(fresh, mixture.objects, rng)


Cell = TypeVar("Cell", bound=np.generic)


def cut(array: NDArray[Cell], corner: Sequence[int], size: int, fill: float) -> NDArray[Cell]:
    """The cube (S, S, S) of an array from ``corner`` on, ``fill`` where there is no array."""
    out = np.full((size, size, size), fill, array.dtype)
    inner, outer = [], []
    for start, length in zip(corner, array.shape, strict=True):
        low, high = max(0, start), min(length, start + size)
        inner.append(slice(low, max(low, high)))
        outer.append(slice(low - start, max(low, high) - start))
    out[tuple(outer)] = array[tuple(inner)]
    return out


def _real(
    volumes: Sequence[LabelledVolume], size: int, rng: np.random.Generator
) -> Window3d | None:
    """A window round a random voxel of a random object; None where nothing usable is in it."""
    volume = volumes[rng.integers(len(volumes))]
    value = list(volume.names)[rng.integers(len(volume.names))]
    places = np.flatnonzero(volume.labels == value)
    if not len(places):
        return None
    middle = np.array(np.unravel_index(int(places[rng.integers(len(places))]), volume.labels.shape))
    zoom = float(np.exp(rng.uniform(-0.25, 0.25))) if rng.random() < 0.5 else 1.0
    edge = round(size / zoom)
    corner = [int(v) for v in middle - edge // 2 + rng.integers(-edge // 8, edge // 8 + 1, 3)]
    fill = float(rng.choice([0.0, float(volume.values.min())]))
    values = cut(volume.values, corner, edge, fill)
    labels = cut(volume.labels, corner, edge, 0)
    if edge != size:
        values = _resized(values, size, 1)
        labels = _resized(labels, size, 0)
    counts = np.bincount(labels.ravel(), minlength=256)
    usable = [v for v in volume.names if counts[v] >= MIN_VOXELS and v != value]
    chosen = [value, *rng.permutation(usable)[:5]] if counts[value] >= MIN_VOXELS else usable[:6]
    if not len(chosen):
        return None
    return Window3d(standardised(values), np.stack([labels == v for v in chosen]))


def _phantom(size: int, rng: np.random.Generator) -> Window3d:
    phantom = make_phantom3d(rng, size)
    return Window3d(standardised(phantom.values), phantom.masks)


def _resized(cube: NDArray[Cell], size: int, order: int) -> NDArray[Cell]:
    """A cube of another edge, from voxel centres to voxel centres."""
    step = cube.shape[0] / size
    resized = ndimage.affine_transform(
        cube, np.full(3, step), (step - 1) / 2, (size, size, size), order=order, mode="nearest"
    )
    return np.asarray(resized, cube.dtype)


def _changed(window: Window3d, objects: int, rng: np.random.Generator) -> Window3d:
    """Some objects of a window, turned by right angles, mirrored and toned."""
    axes = rng.permutation(3)
    if rng.random() < 0.5:  # most volumes are seen upright
        axes = np.array([*rng.permutation(2), 2])
    flips = tuple(axis for axis in range(3) if rng.random() < 0.5)
    chosen = rng.permutation(len(window.masks))[:objects]
    volume = np.flip(np.transpose(window.volume, axes), flips)
    masks = np.transpose(window.masks[chosen], (0, *(axes + 1)))
    masks = np.flip(masks, tuple(axis + 1 for axis in flips))
    return Window3d(_toned(np.ascontiguousarray(volume), rng), np.ascontiguousarray(masks))


def _toned(volume: Field, rng: np.random.Generator) -> Field:
    """Grey values stretched, bent, cut off, noisy; now and then a negative."""
    toned = volume * np.float32(np.exp(rng.normal(0, 0.25))) + np.float32(rng.normal(0, 0.25))
    if rng.random() < 0.3:  # a display window
        low = np.float32(rng.uniform(-3, -0.8))
        toned = np.clip(toned, low, low + np.float32(rng.uniform(2, 6)))
    if rng.random() < 0.3:
        size = len(volume)
        gain = smooth_volume(rng, (size, size, size), size / 1.5)
        toned = toned + np.float32(rng.uniform(0.05, 0.25)) * gain
    if rng.random() < 0.3:
        noise = rng.standard_normal(volume.shape, np.float32)
        toned = toned + np.float32(0.4 * rng.random() ** 2) * noise
    if rng.random() < 0.06:
        toned = -toned
    return np.asarray(np.clip(toned, -CLIP, CLIP), np.float32)

"""Two whole volumes with labels, made from a seed: an abdomen CT and a T1-like brain MR.

They use the body plans of :mod:`lib.data.abdomen` and :mod:`lib.data.brain`, cut by many parallel
planes and bent by one deformation that is smooth in all three directions. Voxel order is that of
a DICOM series in radiology convention: i = column (to the patient's left), j = row (to the back),
k = slice (upwards, along the normal).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from lib.data import abdomen, brain
from lib.data.acquisition import blur, ct_noise, rician
from lib.data.body import N_WAVES, Section
from lib.data.random_fields import Field, draw_up, fractal_field, knots_for, spline_basis
from lib.data.scene import Scene
from lib.errors import OptionError

ABDOMEN_LABELS: Mapping[int, str] = MappingProxyType(
    {
        1: "liver",
        2: "spleen",
        3: "right kidney",
        4: "left kidney",
        5: "aorta",
        6: "stomach",
        7: "vertebra",
        8: "gallbladder",
        9: "liver lesion 1",
        10: "liver lesion 2",
    }
)
"""Label values of :func:`make_abdomen_ct`."""

BRAIN_LABELS: Mapping[int, str] = MappingProxyType(
    {
        1: "right ventricle",
        2: "left ventricle",
        3: "tumour",
        4: "cerebellum",
        5: "brain stem",
    }
)
"""Label values of :func:`make_brain_mr`."""

_ATTEMPTS = 20
_MIN_SLICES = 2


@dataclass(frozen=True)
class PhantomVolume:
    """A synthetic scan with its truth.

    Attributes:
        array: int16 (I, J, K); HU for CT, arbitrary signal from 0 for MR.
        labels: uint8 (I, J, K), 0 = background; labels are disjoint.
        names: label value -> name.
        spacing: voxel size along i, j, k in mm.
        modality: "CT" or "MR".
    """

    array: npt.NDArray[np.int16]
    labels: npt.NDArray[np.uint8]
    names: Mapping[int, str]
    spacing: tuple[float, float, float]
    modality: str

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """Voxel to RAS in mm (4, 4): i runs to the left, j to the back, k upwards.

        The middle of the volume is the origin.
        """
        steps = np.asarray(self.spacing) * (-1.0, -1.0, 1.0)
        matrix = np.diag([*steps, 1.0])
        matrix[:3, 3] = -steps * (np.asarray(self.array.shape) - 1) / 2.0
        return matrix


@dataclass(frozen=True)
class _Grid:
    """The voxel grid of a volume: shape (I, J, K), spacing in mm, height of its middle in mm."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    middle: float

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape[:2]) < 64 or not 1 <= self.shape[2] <= 512:
            raise OptionError(
                f"shape {self.shape}", "I and J from 64, K from 1 to 512", "choose a larger grid"
            )
        if max(self.shape[:2]) > 1024:
            raise OptionError(f"shape {self.shape}", "I and J up to 1024", "choose a smaller grid")
        if len(self.spacing) != 3 or not all(0.1 <= s <= 20 for s in self.spacing):
            raise OptionError(
                f"spacing {self.spacing}", "three numbers from 0.1 to 20 mm", "correct the spacing"
            )

    def height_of(self, k: int) -> float:
        """The z of slice k in mm."""
        return self.middle + (k - (self.shape[2] - 1) / 2.0) * self.spacing[2]


class _Smooth:
    """Unit-variance fields that are smooth in three dimensions, drawn up slice by slice."""

    def __init__(self, rng: np.random.Generator, grid: _Grid, scale: float) -> None:
        """Draw the knots; ``scale`` is the size of a bump in mm."""
        (i, j, k), (dx, dy, dz) = grid.shape, grid.spacing
        knots = (knots_for(k, scale / dz), knots_for(j, scale / dy), knots_for(i, scale / dx))
        self._knots = rng.standard_normal(knots, np.float32)
        self._along = spline_basis(k, knots[0])
        self._size = (j, i)

    def slice(self, k: int) -> Field:
        """The field (J, I) of slice k."""
        weights = self._along[k]
        flat = np.tensordot(weights, self._knots, axes=1) / np.sqrt(np.sum(weights**2))
        return draw_up(flat.astype(np.float32), *self._size)


def _sections(rng: np.random.Generator, grid: _Grid, bend: float) -> Iterator[Section]:
    """The planes of a grid, bottom to top, bent together by about ``bend`` mm."""
    (columns, rows, slices), (dx, dy, _) = grid.shape, grid.spacing
    x = ((np.arange(columns) - (columns - 1) / 2.0) * dx).astype(np.float32)[None, :]
    y = ((np.arange(rows) - (rows - 1) / 2.0) * dy).astype(np.float32)[:, None]
    coarse = [_Smooth(rng, grid, 70.0) for _ in range(2)]
    fine = [_Smooth(rng, grid, 30.0) for _ in range(2)]
    waves = [_Smooth(rng, grid, 35.0) for _ in range(N_WAVES)]
    for k in range(slices):
        shift = [
            np.float32(bend) * (c.slice(k) + 0.22 * f.slice(k))
            for c, f in zip(coarse, fine, strict=True)
        ]
        drawn = np.stack([w.slice(k) for w in waves])
        yield Section(x + shift[0], y + shift[1], grid.height_of(k), drawn)


def _labels_of(scene: Scene, names: Mapping[int, str]) -> npt.NDArray[np.uint8]:
    """The scene's labels (J, I) renumbered to ``names``; a part without its own is its parent's."""
    values = {name: value for value, name in names.items()}
    table = np.zeros(len(scene.names) + 1, np.uint8)
    for label, name in enumerate(scene.names, start=1):
        parent = scene.parents.get(label, 0)
        above = scene.names[parent - 1] if parent else ""
        table[label] = values.get(name, values.get(above, 0))
    return table[scene.labels]


def _render(
    grid: _Grid,
    sections: Iterator[Section],
    draw: Callable[[int, Section], Scene],
    names: Mapping[int, str],
) -> tuple[Field, npt.NDArray[np.uint8]]:
    """All slices of a plan: values float32 (K, J, I) and labels uint8 (K, J, I)."""
    columns, rows, slices = grid.shape
    values = np.empty((slices, rows, columns), np.float32)
    labels = np.empty((slices, rows, columns), np.uint8)
    for k, section in enumerate(sections):
        scene = draw(k, section)
        values[k], labels[k] = scene.values, _labels_of(scene, names)
    return values, labels


def _complete(labels: npt.NDArray[np.uint8], names: Mapping[int, str]) -> bool:
    """Whether every label fills a clickable area in at least two slices (K, J, I)."""
    area = labels.shape[1] * labels.shape[2] * 0.001
    wanted = min(_MIN_SLICES, labels.shape[0])
    return all(np.count_nonzero((labels == v).sum(axis=(1, 2)) >= area) >= wanted for v in names)


def _couch(section: Section) -> npt.NDArray[np.bool_]:
    """The table under the patient (H, W): a thin curved shell."""
    top = 121.0 - 0.0006 * section.x * section.x
    flat = np.abs(section.x) < 150
    return flat & (np.abs(section.y - top) < 1.6)


def _abdomen_slice(plan: abdomen.AbdomenPlan, _k: int, section: Section) -> Scene:
    """A slice of a patient on the scanner's table, which shows where there is air."""
    scene = abdomen.render_abdomen(plan, section)
    scene.values[_couch(section) & (scene.values <= -999)] = -250.0
    return scene


def _scan_ct(rng: np.random.Generator, values: Field, pixel: float) -> npt.NDArray[np.int16]:
    """HU (K, J, I) as a scanner would give them: mottle, blur, noise; ``pixel`` in mm."""
    slices, rows, columns = values.shape
    out = np.empty((slices, rows, columns), np.float32)
    for k in range(slices):
        mottle = 4.0 * fractal_field(rng, rows, columns, 7.0 / pixel)
        tissue = values[k] > -300
        smooth = blur(values[k] + mottle * tissue, 0.9 / pixel + 0.1)
        noise = ct_noise(rng, np.zeros_like(smooth), 11.0)
        out[k] = smooth + noise * np.where(smooth > -700, 1.0, 0.25)
    return np.asarray(np.clip(np.rint(out), -1024, 3071), np.int16)


def make_abdomen_ct(
    rng: np.random.Generator,
    shape: tuple[int, int, int] = (224, 176, 24),
    spacing: tuple[float, float, float] = (1.5, 1.5, 5.0),
) -> PhantomVolume:
    """An upper abdomen in the portal venous phase, with two liver lesions.

    Args:
        rng: source of all randomness; the same state gives the same volume.
        shape: voxels along i, j, k; the default covers the whole body.
        spacing: mm along i, j, k.

    Returns:
        HU as int16 with labels ABDOMEN_LABELS. With the default grid every label is present.

    Raises:
        OptionError: a grid or spacing out of range.
    """
    grid = _Grid(shape, spacing, sum(abdomen.Z_RANGE) / 2.0)
    hu = abdomen.Densities(
        fat=-102, muscle=58, liver=108, vessel=165, spleen=124, kidney=188, medulla=168,
        lesion=52, bowel=32, stomach=12, marrow=175, cortex=620,
    )  # fmt: skip
    for _ in range(_ATTEMPTS):
        plan = abdomen.sample_abdomen(rng, hu, lesions=2)
        plan = replace(plan, stomach_gas=max(plan.stomach_gas, 0.75))
        values, labels = _render(
            grid,
            _sections(rng, grid, bend=4.0),
            partial(_abdomen_slice, plan),
            ABDOMEN_LABELS,
        )
        if _complete(labels, ABDOMEN_LABELS) or shape[2] < _MIN_SLICES * 4:
            break
    array = _scan_ct(rng, values, spacing[0])
    return PhantomVolume(
        np.ascontiguousarray(array.T), np.ascontiguousarray(labels.T), ABDOMEN_LABELS, spacing, "CT"
    )


def _brain_slice(plan: brain.BrainPlan, folds: _Smooth, k: int, section: Section) -> Scene:
    """Slice k of a head."""
    return brain.render_brain(plan, section, folds.slice(k))


def _scan_mr(
    rng: np.random.Generator, values: Field, gain: _Smooth, pixel: float
) -> npt.NDArray[np.int16]:
    """Signal (K, J, I) as a scanner would give it: mottle, blur, coil gain, Rician noise."""
    slices, rows, columns = values.shape
    out = np.empty((slices, rows, columns), np.float32)
    for k in range(slices):
        mottle = 1.0 + 0.025 * fractal_field(rng, rows, columns, 6.0 / pixel)
        smooth = blur(values[k] * mottle, 0.6 / pixel + 0.1) * np.exp(0.12 * gain.slice(k))
        out[k] = rician(rng, smooth, 0.018)
    return np.asarray(np.clip(np.rint(out * 700.0), 0, 4095), np.int16)


def make_brain_mr(
    rng: np.random.Generator,
    shape: tuple[int, int, int] = (176, 208, 24),
    spacing: tuple[float, float, float] = (1.0, 1.0, 4.0),
) -> PhantomVolume:
    """A T1-like head after contrast, with one enhancing tumour in oedema.

    Args:
        rng: source of all randomness; the same state gives the same volume.
        shape: voxels along i, j, k; the default covers the whole head.
        spacing: mm along i, j, k.

    Returns:
        Signal as int16 from 0 to about 1000 with labels BRAIN_LABELS (the tumour without its
        oedema). With the default grid every label is present.

    Raises:
        OptionError: a grid or spacing out of range.
    """
    grid = _Grid(shape, spacing, sum(brain.Z_RANGE) / 2.0)
    for _ in range(_ATTEMPTS):
        plan = replace(brain.sample_brain(rng, brain.Signals(), tumours=1), necrosis=0.3)
        folds = _Smooth(rng, grid, 9.5)
        values, labels = _render(
            grid,
            _sections(rng, grid, bend=2.5),
            partial(_brain_slice, plan, folds),
            BRAIN_LABELS,
        )
        if _complete(labels, BRAIN_LABELS) or shape[2] < _MIN_SLICES * 4:
            break
    array = _scan_mr(rng, values, _Smooth(rng, grid, 110.0), spacing[0])
    return PhantomVolume(
        np.ascontiguousarray(array.T), np.ascontiguousarray(labels.T), BRAIN_LABELS, spacing, "MR"
    )

"""The plan of a head: scalp, skull, folded cortex, white matter, ventricles, a tumour.

The folds come from ridges of a smooth field: close to a zero of the field lies a sulcus (CSF),
around it grey matter, elsewhere white matter. Frame as in :mod:`lib.data.body`: y to the back,
z upwards from about 0 (base of the brain) to 110 mm (vertex). Values are relative T1 signal 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.data.body import Blob, Section, vary
from lib.data.random_fields import Field
from lib.data.scene import Mask, Scene

Z_RANGE = (8.0, 88.0)
"""Height of the plan in mm worth showing."""


@dataclass(frozen=True)
class Signals:
    """Relative signal of each tissue; the defaults are T1-like."""

    air: float = 0.02
    scalp: float = 0.85
    skull: float = 0.08
    marrow: float = 0.35
    csf: float = 0.12
    grey: float = 0.48
    white: float = 0.72
    nucleus: float = 0.55
    tumour: float = 0.90
    necrosis: float = 0.30
    oedema: float = 0.40


@dataclass(frozen=True)
class BrainPlan:
    """One head: shells (mm), ventricles, nuclei, tumours with oedema, signals.

    ``fold_width`` is the half width of a sulcus in units of the fold field, ``necrosis`` the
    radius of a tumour's dead middle relative to the tumour.
    """

    head: Blob
    scalp: float
    skull: float
    gap: float
    fold_width: float
    ventricles: tuple[tuple[Blob, ...], tuple[Blob, ...]]
    third: Blob
    nuclei: tuple[Blob, ...]
    tumours: tuple[Blob, ...]
    oedemas: tuple[Blob, ...]
    necrosis: float
    cerebellum: Blob
    stem: Blob
    signals: Signals


def sample_signals(rng: np.random.Generator) -> Signals:
    """Signals of a random sequence: T1-like, T2-like, FLAIR-like or fully random contrast."""
    chance = rng.random()
    if chance < 0.45:
        base = Signals()
    elif chance < 0.65:
        base = Signals(0.02, 0.6, 0.06, 0.3, 0.95, 0.55, 0.38, 0.45, 0.75, 0.9, 0.8)
    elif chance < 0.85:
        base = Signals(0.02, 0.6, 0.06, 0.25, 0.08, 0.52, 0.42, 0.46, 0.75, 0.3, 0.9)
    else:
        return Signals(0.02, *(float(v) for v in rng.uniform(0.05, 1.0, 10)))
    jitter = np.exp(rng.normal(0, 0.1, 11))
    names = Signals.__dataclass_fields__
    return Signals(*(float(getattr(base, n) * j) for n, j in zip(names, jitter, strict=True)))


def sample_brain(
    rng: np.random.Generator, signals: Signals | None = None, tumours: int | None = None
) -> BrainPlan:
    """A random head.

    Args:
        rng: source of all randomness.
        signals: tissue signals; None draws them.
        tumours: how many; None draws 0 to 2.
    """
    count = int(rng.choice([0, 1, 1, 1, 2])) if tumours is None else tumours
    places = [_tumour_place(rng) for _ in range(count)]
    cores = tuple(
        vary(rng, p, (r, r, r), shift=2, stretch=0.15, wave=0.16)
        for p, r in ((p, rng.uniform(8, 19)) for p in places)
    )
    return BrainPlan(
        head=vary(rng, (0, 0, 20), (78, 97, 104), shift=2, stretch=0.04, wave=0.015),
        scalp=float(rng.uniform(4, 7)),
        skull=float(rng.uniform(5, 8)),
        gap=float(rng.uniform(1.5, 4)),
        fold_width=float(rng.uniform(0.12, 0.28)),
        ventricles=(_ventricle(rng, -1.0), _ventricle(rng, 1.0)),
        third=vary(rng, (0, 10, 38), (2.2, 13, 12), shift=0.7, wave=0.05),
        nuclei=tuple(
            vary(rng, (side * x, y, z), (rx, ry, rz), side * turn, shift=1, stretch=0.06, wave=0.06)
            for side in (-1, 1)
            for x, y, z, rx, ry, rz, turn in (
                (12, 16, 44, 8, 13, 11, 0.3),
                (27, -2, 42, 6, 17, 14, -0.15),
            )
        ),
        tumours=cores,
        oedemas=tuple(
            vary(rng, c.centre, _scaled(c.radii, rng.uniform(1.35, 1.9)), shift=3, wave=0.3)
            for c in cores
        ),
        necrosis=float(rng.uniform(0.3, 0.75)) if rng.random() < 0.6 else 0.0,
        cerebellum=vary(rng, (0, 52, 6), (50, 30, 26), shift=2, stretch=0.05, wave=0.04),
        stem=vary(rng, (0, 22, 5), (13, 13, 28), shift=1, stretch=0.06, wave=0.04),
        signals=sample_signals(rng) if signals is None else signals,
    )


def _scaled(radii: tuple[float, float, float], by: float) -> tuple[float, float, float]:
    return radii[0] * by, radii[1] * by, radii[2] * by


def _tumour_place(rng: np.random.Generator) -> tuple[float, float, float]:
    """A place in the white matter of one side, off the ventricles."""
    side = rng.choice([-1.0, 1.0])
    return side * rng.uniform(28, 46), rng.uniform(-48, 48), rng.uniform(30, 80)


def _ventricle(rng: np.random.Generator, side: float) -> tuple[Blob, ...]:
    """Frontal horn, body and back horn of one lateral ventricle."""
    wide = rng.uniform(0.8, 1.5)
    pieces = (
        ((11, -24, 54), (6 * wide, 15, 9), -0.45),
        ((13, 4, 55), (6.5 * wide, 24, 17), 0.1),
        ((19, 31, 54), (6 * wide, 17, 9), -0.45),
    )
    return tuple(
        vary(rng, (side * c[0], c[1], c[2]), r, side * turn, shift=0.8, stretch=0.05, wave=0.05)
        for c, r, turn in pieces
    )


def _shell_depth(plan: BrainPlan, section: Section) -> Field:
    """Depth below the skin in mm (H, W), negative outside."""
    level = plan.head.level(section)
    radius = np.sqrt(np.maximum(level + 1.0, 0.0))
    return np.asarray((1.0 - radius) * plan.head.radii[0], np.float32)


def _paint_shells(scene: Scene, section: Section, plan: BrainPlan) -> Field:
    """Scalp, skull with marrow and the fluid under it; returns the depth below the cortex."""
    s, depth = plan.signals, _shell_depth(plan, section)
    scene.values[depth > 0] = s.scalp
    bone = depth - plan.scalp - 0.8 * section.waves[0]
    scene.values[bone > 0] = s.skull
    marrow = (bone > 0.35 * plan.skull) & (bone < 0.7 * plan.skull)
    scene.values[marrow] = s.marrow
    fluid = bone - plan.skull
    scene.values[fluid > 0] = s.csf
    return np.asarray(fluid - plan.gap - 0.5 * section.waves[1], np.float32)


def _paint_cortex(
    scene: Scene, plan: BrainPlan, section: Section, depth: Field, folds: Field
) -> Mask:
    """Grey and white matter with sulci and the fissure between the halves."""
    s = plan.signals
    brain = depth > 0
    ridge = np.abs(folds) + np.maximum(depth - 12.0, 0) * np.float32(0.04)
    scene.paint(brain, s.white, "brain")
    grey = (depth < 3.5) | (ridge < plan.fold_width + 0.36)
    scene.paint(brain & grey, s.grey, "brain")
    split = np.abs(section.x) < 1.4 + 0.5 * section.waves[2]
    outer = (np.abs(section.y) > 38) | (section.z > 72)
    near = (np.abs(section.x) < 5.0) & outer
    scene.paint(brain & near, s.grey, "brain")
    sulci = (ridge < plan.fold_width * 0.75) | (split & outer)
    scene.paint(brain & sulci, s.csf, None, "brain")
    return brain


def _paint_deep(scene: Scene, plan: BrainPlan, section: Section, brain: Mask) -> None:
    """Nuclei, ventricles, brain stem, cerebellum."""
    s = plan.signals
    core = Blob((0, 2, 44), (33, 45, 33))
    scene.paint(core.inside(section) & brain, s.white, None, "brain")
    for nucleus in plan.nuclei:
        scene.paint(nucleus.inside(section) & brain, s.nucleus, "deep nucleus", "brain")
    scene.paint(plan.third.inside(section) & brain, s.csf, None, "brain")
    for pieces, name in zip(plan.ventricles, ("right ventricle", "left ventricle"), strict=True):
        for piece in pieces:
            scene.paint(piece.inside(section) & brain, s.csf, name, "brain")
    level = plan.cerebellum.level(section)
    if section.z < 30:
        leaves = np.sin(section.y * 1.1 + 1.5 * section.waves[3]) > 0.2
        scene.paint((level < 0.12) & brain, s.csf, None, "brain")
        scene.paint((level < 0) & brain, s.grey, "cerebellum", "brain")
        scene.paint(
            (level < -0.25) & leaves & brain, 0.5 * (s.grey + s.white), "cerebellum", "brain"
        )
        scene.paint(plan.stem.inside(section, 1.15) & brain, s.csf, None, "brain")
        scene.paint(plan.stem.inside(section) & brain, s.white, "brain stem", "brain")


def render_brain(plan: BrainPlan, section: Section, folds: Field) -> Scene:
    """Paint one axial section: relative signal without noise, labels by name.

    Args:
        plan: the head.
        section: the plane.
        folds: unit-variance field (H, W) with bumps of about 14 mm; its zeros become sulci.
    """
    s = plan.signals
    scene = Scene.blank(*section.shape, s.air)
    depth = _paint_shells(scene, section, plan)
    brain = _paint_cortex(scene, plan, section, depth, folds)
    _paint_deep(scene, plan, section, brain)
    ventricle = (scene.values == np.float32(s.csf)) & (scene.labels > 1)
    tissue = brain & ~ventricle
    for oedema, core in zip(plan.oedemas, plan.tumours, strict=True):
        scene.paint(oedema.inside(section) & tissue, s.oedema, "oedema", "brain")
        level = core.level(section)
        scene.paint((level < 0) & brain, s.tumour + 0.05 * section.waves[0], "tumour", "brain")
        scene.paint((level < plan.necrosis**2 - 1.0) & brain, s.necrosis, None, "tumour")
    return scene

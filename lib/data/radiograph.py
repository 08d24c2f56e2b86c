"""X-ray images: thicknesses of ellipsoids and tubes added up along the beam, then inverted."""

from __future__ import annotations

import numpy as np

from lib.data.acquisition import Image8, blur, grain, stretch
from lib.data.body import Blob, Section, look, random_view, vary
from lib.data.random_fields import Field, fractal_field
from lib.data.scene import Mask, Scene, SceneObject


def _chord(blob: Blob, section: Section) -> Field:
    """Relative path length (H, W) of the beam through an ellipsoid, 1 through the middle."""
    return np.asarray(np.sqrt(np.maximum(-blob.near(section), 0.0)), np.float32)


def _tube(
    section: Section,
    start: tuple[float, float],
    end: tuple[float, float],
    radii: tuple[float, float],
) -> Field:
    """Distance from the axis of a tapered tube, relative to its radius (H, W); 1 on its surface."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    t = ((section.x - start[0]) * dx + (section.y - start[1]) * dy) / (dx * dx + dy * dy)
    t = np.clip(t, 0, 1)
    gap = np.hypot(section.x - start[0] - t * dx, section.y - start[1] - t * dy)
    return np.asarray(gap / (radii[0] + (radii[1] - radii[0]) * t), np.float32)


def _bone(scene: Scene, gap: Field, weight: float, shell: float) -> Mask:
    """Add a tube-shaped bone: dense shell, looser inside; returns its mask."""
    mask = gap < 1
    within = gap[mask]
    outer = np.sqrt(np.maximum(1 - within * within, 0))
    inner = np.sqrt(np.maximum(shell * shell - within * within, 0))
    scene.values[mask] += np.float32(weight) * (outer - 0.72 * inner)
    return mask


def _chest(rng: np.random.Generator, scene: Scene, section: Section) -> None:
    """Frontal chest: lungs subtract, heart, spine, ribs and clavicles add."""
    body = vary(rng, (0, 0, 0), (165, 190, 900), stretch=0.05, wave=0.03)
    scene.values += np.float32(rng.uniform(1.2, 1.8)) * _chord(body, section)
    depth = rng.uniform(0.6, 1.1)
    for side, name in ((-1.0, "right lung"), (1.0, "left lung")):
        lung = vary(rng, (side * 66, -8, 0), (50, 112, 900), side * -0.1, shift=4, wave=0.06)
        inside = lung.inside(section)
        scene.values -= np.float32(depth) * _chord(lung, section) ** 0.5
        scene.overlays.append(SceneObject(name, inside))
    heart = vary(rng, (22, 42, 0), (rng.uniform(46, 68), 54, 900), 0.5, wave=0.04)
    scene.values += np.float32(rng.uniform(0.5, 1.0)) * _chord(heart, section) ** 0.6
    scene.overlays.append(SceneObject("heart", heart.inside(section)))
    aside = np.abs(section.x)
    bend = ((aside - 70) / 75) ** 2
    there = {side: (section.x * side >= 8) & (aside <= 128) for side in (-1.0, 1.0)}
    for order in range(8):
        drop = rng.uniform(20, 40)
        for side in (-1.0, 1.0):
            mid = -105 + order * 27
            centre = mid + bend * drop - 0.15 * side * section.x
            gap = np.abs(section.y - centre) / 6.0
            gap[~there[side]] = 5.0
            _bone(scene, gap, rng.uniform(0.12, 0.3), 0.6)
    for side in (-1.0, 1.0):
        clavicle = _tube(section, (side * 10, -108), (side * 125, -135), (7, 6))
        mask = _bone(scene, clavicle, rng.uniform(0.3, 0.5), 0.6)
        scene.overlays.append(SceneObject("clavicle", mask))
    _bone(scene, np.abs(section.x) / 17 + 0.1 * np.cos(section.y / 4.5), rng.uniform(0.3, 0.7), 0.7)
    if rng.random() < 0.4:
        place = (rng.choice([-1, 1]) * rng.uniform(45, 90), rng.uniform(-70, 50), 0)
        mass = vary(rng, place, (16, 15, 900), stretch=0.3, wave=0.12)
        scene.values += np.float32(rng.uniform(0.3, 0.7)) * _chord(mass, section)
        scene.overlays.append(SceneObject("nodule", mass.inside(section)))


def _limb(rng: np.random.Generator, scene: Scene, section: Section) -> None:
    """Long bones with joints in soft tissue, sometimes a metal implant."""
    flesh = _tube(section, (0, -260), (0, 260), (rng.uniform(70, 150), rng.uniform(60, 130)))
    scene.values += np.float32(rng.uniform(0.4, 0.9)) * np.sqrt(np.maximum(1 - flesh**2, 0))
    x, top = rng.uniform(-30, 30), rng.uniform(-40, 40)
    bones = [((x, -240), (x + rng.normal(0, 8), top)), ((x, top + 46), (x - 8, 250))]
    if rng.random() < 0.6:
        bones.append(((x + 34, top + 52), (x + 30, 250)))
    for index, (start, end) in enumerate(bones):
        thick = rng.uniform(13, 22) if index < 2 else rng.uniform(7, 10)
        gap = _tube(section, start, end, (thick, thick * 1.05))
        knee = end if index == 0 else start
        knob = vary(rng, (knee[0], knee[1], 0), (thick * 1.9, thick * 1.2, 900), shift=1, wave=0.08)
        head = np.sqrt(np.maximum(knob.near(section) + 1, 0))
        both = np.minimum(gap, head)
        mask = _bone(scene, both, rng.uniform(0.7, 1.3), rng.uniform(0.55, 0.8))
        scene.overlays.append(SceneObject("bone", mask))
    if rng.random() < 0.25:
        nail = _tube(section, (x, -120), (x, top - 20), (5, 5)) < 1
        scene.values[nail] += 2.0
        scene.overlays.append(SceneObject("implant", nail))


def _pelvis(rng: np.random.Generator, scene: Scene, section: Section) -> None:
    """Frontal pelvis: iliac wings, hip joints, femora."""
    body = vary(rng, (0, 0, 0), (185, 260, 900), wave=0.03)
    scene.values += np.float32(rng.uniform(1.0, 1.6)) * _chord(body, section)
    for side in (-1.0, 1.0):
        wing = vary(rng, (side * 78, -58, 0), (52, 62, 900), side * -0.5, wave=0.08)
        mask = wing.inside(section)
        scene.values += np.float32(rng.uniform(0.3, 0.55)) * (_chord(wing, section) ** 0.4)
        scene.overlays.append(SceneObject("iliac wing", mask))
        head = vary(rng, (side * 96, 30, 0), (24, 24, 900), shift=2, stretch=0.05, wave=0.02)
        neck = _tube(section, (side * 96, 30), (side * 138, 62), (17, 19))
        shaft = _tube(section, (side * 138, 55), (side * 132, 260), (21, 18))
        gap = np.minimum(np.sqrt(np.maximum(head.near(section) + 1, 0)), np.minimum(neck, shaft))
        mask = _bone(scene, gap, rng.uniform(0.8, 1.2), rng.uniform(0.5, 0.75))
        scene.overlays.append(SceneObject("femur", mask))
        ramus = _tube(section, (side * 72, 42), (side * 12, 66), (11, 9))
        _bone(scene, ramus, rng.uniform(0.4, 0.7), 0.6)
        lower = _tube(section, (side * 70, 60), (side * 22, 112), (10, 9))
        _bone(scene, lower, rng.uniform(0.4, 0.7), 0.6)
    sacrum = vary(rng, (0, -50, 0), (40, 60, 900), wave=0.08)
    scene.values += np.float32(rng.uniform(0.25, 0.5)) * _chord(sacrum, section) ** 0.5
    scene.overlays.append(SceneObject("sacrum", sacrum.inside(section)))


def make_xray(rng: np.random.Generator, size: int) -> tuple[Image8, Scene]:
    """A random radiograph (size, size) and its scene (attenuation, overlapping objects)."""
    draw = (_chest, _limb, _pelvis)[int(rng.choice(3, p=[0.5, 0.25, 0.25]))]
    view = random_view(rng, size, 340.0, (80.0, 90.0))
    section = look(rng, view, size, 0.0, bend=6.0)
    scene = Scene.blank(size, size)
    draw(rng, scene, section)
    scene.values += np.float32(rng.uniform(0.02, 0.07)) * fractal_field(rng, size, size, size / 12)
    picture = blur(scene.values, rng.uniform(0.4, 1.2))
    if rng.random() < 0.25:
        picture = -picture
    spread = float(np.std(picture[::4, ::4]))
    return stretch(grain(rng, picture, spread * rng.uniform(0.01, 0.12)), 0.5, 99.5), scene

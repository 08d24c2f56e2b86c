"""Axial sections of a chest: lungs with vessels, heart, great vessels, spine, ribs, nodules.

Two renderings of one plan frame (mm, as in :mod:`lib.data.body`): :func:`render_chest` in HU, and
:func:`render_heart` as a bright-blood cardiac MR short axis view in relative signal 0..1.
"""

from __future__ import annotations

import numpy as np

from lib.data.body import Blob, Section, vary
from lib.data.random_fields import fractal_field
from lib.data.scene import Scene


def _wall(rng: np.random.Generator, scene: Scene, section: Section) -> None:
    """Skin, fat, muscle with ribs; values in HU."""
    body = vary(rng, (0, 0, 0), (165, 112, 900), shift=2, stretch=0.06, wave=0.02)
    radius = np.sqrt(np.maximum(body.level(section) + 1.0, 0))
    depth = (1.0 - radius) * 125.0
    fat, muscle = rng.uniform(4, 20), rng.uniform(10, 16)
    scene.values[depth > 0] = 10.0
    scene.values[depth > 2] = rng.uniform(-115, -85)
    scene.values[depth > 2 + fat] = rng.uniform(45, 70)
    scene.values[depth > 2 + fat + muscle] = rng.uniform(-105, -60)
    angle = np.arctan2(section.y, section.x)
    wave = np.cos(rng.uniform(13, 17) * angle + rng.uniform(0, 6))
    level = ((depth - 2 - fat - 0.6 * muscle) / 5.0) ** 2 + (1.0 - wave) * 1.2
    scene.values[level < 1] = rng.uniform(400, 800)
    scene.values[level < 0.4] = rng.uniform(130, 250)


def _lungs(rng: np.random.Generator, scene: Scene, section: Section) -> None:
    """Both lungs with vessels, sometimes an infiltrate or fluid behind, and nodules."""
    height, width = section.shape
    pattern = fractal_field(rng, height, width, 9 * width / 256)
    base = rng.uniform(-900, -780)
    lungs = section.none()
    for side, name in ((-1.0, "right lung"), (1.0, "left lung")):
        lung = vary(rng, (side * 76, 4, 0), (50, 82, 900), side * 0.12, shift=4, wave=0.06)
        inside = lung.inside(section)
        vessels = (pattern > rng.uniform(1.5, 2.2)) & inside
        scene.paint(inside, base + 18 * pattern, name)
        scene.paint(vessels, rng.uniform(-250, 50), None, name)
        if rng.random() < 0.15:
            fluid = inside & (section.y > rng.uniform(25, 60))
            scene.paint(fluid, rng.uniform(0, 35), "effusion")
        if rng.random() < 0.2:
            spot = vary(rng, (side * 80, rng.uniform(-40, 50), 0), (22, 18, 900), wave=0.3)
            haze = spot.inside(section) & inside
            scene.paint(haze, rng.uniform(-600, -150) + 60 * pattern, "infiltrate", name)
        lungs |= inside
    for _ in range(rng.integers(0, 3)):
        radius = rng.uniform(5, 17)
        centre = (rng.choice([-1, 1]) * rng.uniform(50, 105), rng.uniform(-50, 55), 0)
        nodule = vary(rng, centre, (radius, radius, 900), wave=0.15)
        scene.paint(nodule.inside(section) & lungs, rng.uniform(-50, 90), "lung nodule")


def _mediastinum(rng: np.random.Generator, scene: Scene, section: Section) -> None:
    """Heart or great vessels, airways, gullet."""
    blood = rng.choice([rng.uniform(35, 55), rng.uniform(120, 350)])
    muscle = rng.uniform(45, 110)
    bed = vary(rng, (0, 0, 0), (34, 62, 900), wave=0.08)
    scene.paint(bed.inside(section), rng.uniform(-105, -40))
    if rng.random() < 0.6:
        heart = vary(rng, (18, -22, 0), (58, 44, 900), 0.5, wave=0.05)
        scene.paint(heart.inside(section), muscle, "heart")
        for x, y, r, name in (
            (34, -8, 20, "left ventricle"),
            (2, -36, 18, "right ventricle"),
            (6, 8, 17, "left atrium"),
            (-22, -16, 16, "right atrium"),
        ):
            chamber = vary(rng, (x, y, 0), (r, r * 0.8, 900), 0.5, shift=2, wave=0.08)
            cavity = chamber.inside(section) & heart.inside(section, 0.9)
            scene.paint(cavity, blood + rng.normal(0, 8), name, "heart")
    else:
        for x, y, r, name in (
            (-6, -26, 16, "ascending aorta"),
            (14, -12, 14, "pulmonary artery"),
            (-28, -18, 10, "vena cava"),
        ):
            tube = vary(rng, (x, y, 0), (r, r, 900), shift=3, stretch=0.15, wave=0.06)
            scene.paint(tube.inside(section), blood + rng.normal(0, 25), name)
        trachea = vary(rng, (0, 14, 0), (9, 8, 900), shift=2, wave=0.06)
        scene.paint(trachea.inside(section, 1.2), 40.0)
        scene.paint(trachea.inside(section), -960.0, "trachea")
    gullet = vary(rng, (6, 32, 0), (7, 6, 900), shift=2, wave=0.1)
    scene.paint(gullet.inside(section), 35.0)
    aorta = vary(rng, (22, 40, 0), (12, 12, 900), shift=3, stretch=0.12, wave=0.04)
    scene.paint(aorta.inside(section), blood + rng.normal(0, 8), "descending aorta")


def _bones(rng: np.random.Generator, scene: Scene, section: Section) -> None:
    """Vertebra, canal, sternum, muscles of the back."""
    cortex, marrow = rng.uniform(400, 800), rng.uniform(130, 250)
    for side in (-1, 1):
        muscle = vary(rng, (side * 36, 90, 0), (32, 15, 900), wave=0.08)
        scene.paint(muscle.inside(section), rng.uniform(45, 65))
    for blob, name in (
        (Blob((0, 92, 0), (4, 17, 900)), None),
        (Blob((-20, 76, 0), (20, 4, 900), -0.2), None),
        (Blob((20, 76, 0), (20, 4, 900), 0.2), None),
        (vary(rng, (0, 54, 0), (18, 15, 900), shift=1, wave=0.03), "vertebra"),
        (vary(rng, (0, -88, 0), (18, 6, 900), shift=2, wave=0.06), "sternum"),
    ):
        level = blob.near(section)
        scene.paint(level < 0, cortex, name)
        scene.paint(level < -0.3, marrow, name)
    scene.paint(Blob((0, 73, 0), (8, 7, 900)).inside(section), 25.0, "spinal canal")


def render_chest(rng: np.random.Generator, section: Section) -> Scene:
    """A random chest in HU without noise, labels by organ name."""
    scene = Scene.blank(*section.shape, -1000.0)
    _wall(rng, scene, section)
    _lungs(rng, scene, section)
    _mediastinum(rng, scene, section)
    _bones(rng, scene, section)
    return scene


def render_heart(rng: np.random.Generator, section: Section) -> Scene:
    """A random short axis view: ring of muscle around bright blood, crescent beside it.

    The frame is centred on the left ventricle, 0..1 relative signal.
    """
    height, width = section.shape
    pattern = fractal_field(rng, height, width, 12 * width / 256)
    blood, muscle = rng.uniform(0.6, 1.0), rng.uniform(0.15, 0.45)
    fat, lung = rng.uniform(0.4, 0.95), rng.uniform(0.02, 0.12)
    scene = Scene.blank(height, width, 0.0)
    scene.values += np.float32(fat) + 0.06 * pattern
    for side in (-1.0, 1.0):
        lung_blob = vary(rng, (side * 105 + 10, -5, 0), (62, 80, 900), wave=0.12)
        scene.paint(lung_blob.inside(section), lung + 0.02 * np.abs(pattern), "lung")
    liver = vary(rng, (-60, 95, 0), (95, 45, 900), 0.2, wave=0.1)
    scene.paint(liver.inside(section), rng.uniform(0.2, 0.55) + 0.03 * pattern, "liver")
    wall = rng.uniform(6, 15)
    inner = rng.uniform(14, 27)
    left = vary(rng, (0, 0, 0), (inner, inner, 900), shift=4, stretch=0.06, wave=0.04)
    grown = 1.0 + wall / inner
    right = vary(
        rng,
        (-inner - wall - 8, -6, 0),
        (rng.uniform(22, 34), rng.uniform(28, 42), 900),
        0.3,
        shift=3,
        wave=0.08,
    )
    scene.paint(right.inside(section, 1.12), muscle * 1.2)
    scene.paint(right.inside(section), blood * rng.uniform(0.85, 1.1), "right ventricle")
    scene.paint(left.inside(section, grown), muscle, "myocardium")
    scene.paint(left.inside(section), blood + 0.04 * pattern, "left ventricle", "myocardium")
    for _ in range(2):
        turn, reach = rng.uniform(0, 6.3), inner * 0.62
        centre = (left.centre[0] + reach * np.cos(turn), left.centre[1] + reach * np.sin(turn), 0.0)
        papillary = vary(rng, centre, (inner * 0.18, inner * 0.15, 900), shift=1)
        scene.paint(papillary.inside(section), muscle * 1.1, None, "left ventricle")
    if rng.random() < 0.5:
        aorta = vary(rng, (38, 62, 0), (11, 11, 900), shift=6, wave=0.05)
        scene.paint(aorta.inside(section), blood, "aorta")
    return scene

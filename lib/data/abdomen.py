"""The plan of an upper abdomen: organs as wavy ellipsoids in mm, painted into axial CT sections.

Positions and sizes follow ordinary adult anatomy (radiology convention: the liver lies at small
x, to the left of the image). z runs from about 0 (lower pole of the kidneys) to 120 mm (dome of
the liver). Values are Hounsfield units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.data.body import Blob, Section, vary
from lib.data.random_fields import Field
from lib.data.scene import Mask, Scene

Z_RANGE = (0.0, 120.0)
"""Height of the plan in mm, from the lower to the upper end."""


N_LOOPS = 30
"""Bowel loops of a plan."""


@dataclass(frozen=True)
class Densities:
    """Hounsfield units of the tissues of one patient in one contrast phase."""

    fat: float
    muscle: float
    liver: float
    vessel: float
    spleen: float
    kidney: float
    medulla: float
    lesion: float
    bowel: float
    stomach: float
    marrow: float
    cortex: float


@dataclass(frozen=True)
class AbdomenPlan:
    """One patient: the wall (half width and depth, layers in mm), the organs, their densities.

    ``stomach_gas`` is where the gas in the stomach ends, in its radii in front of its middle;
    1 or more: no gas.
    """

    wall: tuple[float, float]
    fat_layer: float
    muscle_layer: float
    rib_phase: float
    liver: tuple[Blob, Blob]
    vessels: tuple[Blob, ...]
    lesions: tuple[Blob, ...]
    spleen: Blob
    kidneys: tuple[Blob, Blob]
    stomach: Blob
    stomach_gas: float
    gallbladder: Blob
    pancreas: tuple[Blob, ...]
    bowel: tuple[Blob, ...]
    bowel_gas: tuple[bool, ...]
    back: tuple[Blob, ...]
    vertebra: Blob
    processes: tuple[Blob, ...]
    canal: Blob
    aorta: Blob
    cava: Blob
    hu: Densities


def sample_densities(rng: np.random.Generator) -> Densities:
    """Densities of a random patient: without contrast, arterial or portal venous phase."""
    phase = rng.choice(["plain", "arterial", "portal", "portal"])
    liver = rng.uniform(30, 70) if phase == "plain" else rng.uniform(65, 125)
    vessel = {"plain": 42.0, "arterial": 280.0, "portal": 160.0}[phase] * rng.uniform(0.85, 1.15)
    kidney = {"plain": 32.0, "arterial": 190.0, "portal": 175.0}[phase] * rng.uniform(0.85, 1.15)
    sign = -1.0 if rng.random() < 0.75 else 1.0
    return Densities(
        fat=rng.uniform(-115, -85),
        muscle=rng.uniform(45, 70),
        liver=liver,
        vessel=vessel,
        spleen=liver + rng.uniform(-12, 35),
        kidney=kidney,
        medulla=kidney * rng.uniform(0.6, 1.0),
        lesion=liver + sign * rng.uniform(25, 70),
        bowel=rng.uniform(15, 60),
        stomach=rng.uniform(-5, 45) if rng.random() < 0.8 else rng.uniform(120, 300),
        marrow=rng.uniform(130, 230),
        cortex=rng.uniform(450, 900),
    )


def sample_abdomen(
    rng: np.random.Generator, hu: Densities | None = None, lesions: int | None = None
) -> AbdomenPlan:
    """A random patient.

    Args:
        rng: source of all randomness.
        hu: densities; None draws them.
        lesions: number of liver lesions; None draws 0 to 3.
    """
    wall = (float(rng.normal(162, 8)), float(rng.normal(112, 7)))
    count = int(rng.integers(0, 4)) if lesions is None else lesions
    liver = (
        vary(rng, (-74, -4, 84), (82, 84, 74), 0.2, shift=4, stretch=0.05, wave=0.06),
        vary(rng, (-12, -58, 94), (72, 30, 42), -0.15, shift=5, stretch=0.08, wave=0.08),
    )
    return AbdomenPlan(
        wall=wall,
        fat_layer=float(rng.uniform(7, 26)),
        muscle_layer=float(rng.uniform(9, 13)),
        rib_phase=float(rng.uniform(0, 6.3)),
        liver=liver,
        vessels=tuple(_vessel(rng) for _ in range(9)),
        lesions=tuple(_lesion(rng) for _ in range(count)),
        spleen=vary(rng, (104, 34, 86), (27, 50, 52), 0.25, shift=4, stretch=0.08, wave=0.06),
        kidneys=(
            vary(rng, (-62, 50, 34), (27, 23, 52), 0.5, shift=3, stretch=0.07, wave=0.05),
            vary(rng, (62, 50, 44), (27, 23, 52), -0.5, shift=3, stretch=0.07, wave=0.05),
        ),
        stomach=vary(rng, (58, -34, 86), (46, 33, 48), 0.5, shift=6, stretch=0.1, wave=0.08),
        stomach_gas=float(rng.uniform(0.2, 1.1)),
        gallbladder=vary(rng, (-38, -40, 42), (15, 13, 24), 0.4, shift=5, stretch=0.15, wave=0.04),
        pancreas=tuple(
            vary(rng, (x, y, 52), (20, 10, 18), turn, shift=3, stretch=0.1, wave=0.08)
            for x, y, turn in ((-22, 2, 0.2), (6, -8, -0.1), (36, -2, 0.3), (62, 10, 0.4))
        ),
        bowel=_bowel(rng),
        bowel_gas=tuple(bool(rng.random() < 0.35) for _ in range(N_LOOPS)),
        back=_back(rng),
        vertebra=vary(rng, (0, 52, 60), (23, 18, 900), shift=1.5, stretch=0.05, wave=0.03),
        processes=(
            Blob((0, 98, 60), (4.0, 17, 900)),
            Blob((-25, 82, 60), (20, 4.5, 900), -0.25),
            Blob((25, 82, 60), (20, 4.5, 900), 0.25),
            Blob((-13, 74, 60), (5, 11, 900), 0.2),
            Blob((13, 74, 60), (5, 11, 900), -0.2),
        ),
        canal=Blob((0, 78, 60), (10, 8, 900)),
        aorta=vary(rng, (10, 24, 60), (11, 11, 900), shift=2, stretch=0.08, wave=0.03),
        cava=vary(rng, (-22, 22, 60), (13, 10, 900), shift=2, stretch=0.1, wave=0.06),
        hu=sample_densities(rng) if hu is None else hu,
    )


def _vessel(rng: np.random.Generator) -> Blob:
    """A vein in the liver: a long thin ellipsoid that leaves the hilum."""
    turn = rng.uniform(-2.6, 0.6)
    reach = rng.uniform(12, 55)
    centre = (-45 + reach * np.cos(turn) - 18, -8 + reach * np.sin(turn), rng.uniform(40, 125))
    radii = (rng.uniform(10, 30), rng.uniform(1.8, 3.8), rng.uniform(5, 14))
    return vary(rng, centre, radii, turn, shift=2, wave=0.15)


def _lesion(rng: np.random.Generator) -> Blob:
    """A lesion in the right half of the liver, away from the middle of it."""
    turn = rng.uniform(0, 6.3)
    centre = (-82 + 36 * np.cos(turn), -2 + 42 * np.sin(turn), rng.uniform(45, 115))
    radius = rng.uniform(8, 20)
    return vary(rng, centre, (radius, radius, radius * 1.2), shift=3, stretch=0.15, wave=0.1)


def _bowel(rng: np.random.Generator) -> tuple[Blob, ...]:
    """Loops of bowel in front of the organs and in the lower part."""
    loops = []
    for _ in range(N_LOOPS):
        x, y = rng.uniform(-100, 105), rng.uniform(-78, 14)
        top = 25.0 if x < 10 else 62.0
        radii = (rng.uniform(11, 24), rng.uniform(9, 16), rng.uniform(16, 34))
        loops.append(vary(rng, (x, y, rng.uniform(-25, top)), radii, rng.uniform(0, 3), wave=0.1))
    return tuple(loops)


def _back(rng: np.random.Generator) -> tuple[Blob, ...]:
    """The long muscles beside the spine and the psoas in front of them."""
    psoas = rng.uniform(10, 17)
    return (
        vary(rng, (-36, 92, 60), (31, 17, 900), -0.2, shift=2, wave=0.06),
        vary(rng, (36, 92, 60), (31, 17, 900), 0.2, shift=2, wave=0.06),
        vary(rng, (-36, 60, -10), (psoas, psoas * 1.1, 80), 0.3, shift=2, wave=0.06),
        vary(rng, (36, 60, -10), (psoas, psoas * 1.1, 80), -0.3, shift=2, wave=0.06),
    )


def _depth(plan: AbdomenPlan, section: Section) -> Field:
    """Depth below the skin in mm (H, W), negative outside."""
    a, b = plan.wall
    u, v = np.abs(section.x) / np.float32(a), np.abs(section.y) / np.float32(b)
    u *= u * np.sqrt(u)
    v *= v * np.sqrt(v)
    radius = np.power(u + v, np.float32(0.4))
    return np.asarray((1.0 - radius) * b + 1.2 * section.waves[0], np.float32)


def _paint_wall(scene: Scene, section: Section, plan: AbdomenPlan) -> Mask:
    """Skin, fat, muscle and ribs; returns where organs may lie, a little inside the muscle."""
    hu, depth = plan.hu, _depth(plan, section)
    front = np.clip(0.75 - section.y / (2.0 * plan.wall[1]), 0.5, 1.25)
    fat = 2.0 + plan.fat_layer * front
    inner = fat + plan.muscle_layer
    scene.values[depth > 0] = 10.0
    scene.values[depth > 2.0] = hu.fat
    scene.values[(depth > fat) & (depth <= inner)] = hu.muscle
    scene.values[depth > inner] = hu.fat + 4.0
    middle = depth - (fat + inner) / 2.0
    angle = np.arctan2(section.y, section.x)
    wave = np.cos(14.0 * angle + np.sign(section.x) * (section.z / 9.0) + plan.rib_phase)
    level = (middle / 5.0) ** 2 + (1.0 - wave) * 1.15
    ribs = (level < 1.0) & (section.y > -0.75 * plan.wall[1]) & (np.abs(section.x) > 40)
    scene.values[ribs] = hu.cortex * 0.8
    scene.values[ribs & (level < 0.5)] = hu.marrow
    return depth > inner + 1.5


def _paint_spine(scene: Scene, section: Section, plan: AbdomenPlan) -> None:
    """Back muscles, vertebra with a bright shell, its processes and the canal."""
    hu = plan.hu
    for muscle in plan.back:
        level = muscle.near(section)
        scene.paint(level < 0, hu.muscle)
    for process in plan.processes:
        level = process.near(section)
        scene.paint(level < 0, hu.cortex * 0.75)
        scene.paint(level < -0.45, hu.marrow)
    disc = np.cos(section.z / 35.0 * 2 * np.pi) > 0.85
    level = plan.vertebra.near(section)
    scene.paint(level < 0, 90.0 if disc else hu.cortex, "vertebra")
    if not disc:
        scene.paint(level < -0.2, hu.marrow + 18.0 * section.waves[1], "vertebra")
    scene.paint(plan.canal.inside(section), 25.0, "spinal canal")


def _paint_liver(scene: Scene, section: Section, plan: AbdomenPlan, cavity: Mask) -> None:
    """Liver with veins and lesions."""
    hu = plan.hu
    right, left = plan.liver
    liver = (right.inside(section) | left.inside(section)) & cavity
    scene.paint(liver, hu.liver, "liver")
    for vessel in plan.vessels:
        scene.paint(vessel.inside(section) & liver, 0.6 * hu.liver + 0.4 * hu.vessel, None, "liver")
    for number, lesion in enumerate(plan.lesions, start=1):
        level, name = lesion.near(section), f"liver lesion {number}"
        scene.paint((level < 0) & liver, hu.lesion, name, "liver")
        scene.paint((level < -0.6) & liver, hu.lesion - 12.0, name, "liver")


def _paint_kidneys(scene: Scene, section: Section, plan: AbdomenPlan) -> None:
    """Kidneys with cortex, darker pyramids and a notch of fat towards the middle."""
    hu = plan.hu
    for blob, name, side in zip(
        plan.kidneys, ("right kidney", "left kidney"), (1.0, -1.0), strict=True
    ):
        x, y, z = blob.centre
        rx, ry, rz = blob.radii
        if abs(section.z - z) > 1.2 * rz:
            continue
        level = blob.near(section)
        notch = Blob(
            (x + side * 1.0 * rx, y - 0.45 * ry, z), (0.62 * rx, 0.42 * ry, 0.5 * rz), 0.4 * side
        )
        scene.paint(level < 0, hu.kidney, name)
        scene.paint((level < -0.45) & (section.waves[2] > 0), hu.medulla, None, name)
        scene.paint(notch.inside(section), hu.fat + 10.0)


def _paint_gut(scene: Scene, section: Section, plan: AbdomenPlan, cavity: Mask) -> None:
    """Bowel loops, pancreas and stomach, each with a wall; gas collects in front."""
    hu = plan.hu
    for loop, gas in zip(plan.bowel, plan.bowel_gas, strict=True):
        if abs(section.z - loop.centre[2]) > 1.2 * loop.radii[2]:
            continue
        level = loop.near(section)
        inside = (level < 0) & cavity
        scene.paint(inside, hu.bowel + 25.0, "bowel")
        lumen = inside & (level < -0.35)
        scene.paint(lumen, hu.bowel, "bowel")
        if gas:
            scene.paint(lumen & (section.y < loop.centre[1] + 2.0), -850.0, "bowel gas")
    for part in plan.pancreas:
        texture = 0.5 * (hu.muscle + hu.liver) + 9.0 * section.waves[3]
        scene.paint(part.inside(section) & cavity, texture, "pancreas")
    level = plan.stomach.near(section)
    inside = (level < 0) & cavity
    scene.paint(inside, hu.muscle + 15.0, "stomach")
    lumen = inside & (level < -0.22)
    scene.paint(lumen, hu.stomach, "stomach")
    front = plan.stomach.centre[1] - plan.stomach_gas * plan.stomach.radii[1]
    scene.paint(lumen & (section.y < front), -880.0, "stomach gas", "stomach")


def render_abdomen(plan: AbdomenPlan, section: Section, outside: float = -1000.0) -> Scene:
    """Paint one axial section of the plan: values in HU without noise, labels by organ name."""
    scene = Scene.blank(*section.shape, outside)
    hu = plan.hu
    snug = _paint_wall(scene, section, plan)
    _paint_gut(scene, section, plan, snug)
    scene.paint(plan.spleen.inside(section) & snug, hu.spleen, "spleen")
    _paint_liver(scene, section, plan, snug)
    scene.paint(plan.gallbladder.inside(section) & snug, 8.0, "gallbladder")
    _paint_kidneys(scene, section, plan)
    _paint_spine(scene, section, plan)
    scene.paint(plan.cava.inside(section), 0.4 * hu.liver + 0.6 * hu.vessel, "vena cava")
    scene.paint(plan.aorta.inside(section), hu.vessel, "aorta")
    return scene

"""Fundus photographs show what ophthalmologists segment."""

from __future__ import annotations

import numpy as np

from lib.data.fundus import make_fundus
from lib.data.phantoms import make_phantom


def test_disc_cup_vessels_and_lesions_are_named() -> None:
    rng = np.random.default_rng(0)
    names = {name for _ in range(30) for name in make_phantom(rng, 192, "fundus").names}
    assert {"disc", "cup", "vessels", "exudate", "bleeding"} <= names


def test_vessels_are_dark_thin_and_far_reaching() -> None:
    for seed in range(6):
        image, scene = make_fundus(np.random.default_rng(seed), 192)
        vessels = scene.overlays[0].mask
        assert 0.01 < vessels.mean() < 0.25
        assert np.ptp(np.nonzero(vessels)[0]) > 96
        green = image[..., 1] if image.ndim == 3 else image
        lit = green > 20
        assert green[vessels & lit].mean() < green[~vessels & lit].mean()


def test_the_disc_is_brighter_than_the_retina_and_the_cup_brighter_still() -> None:
    rng = np.random.default_rng(1)
    steps = []
    for _ in range(12):
        image, scene = make_fundus(rng, 192)
        green = (image[..., 1] if image.ndim == 3 else image).astype(float)
        green[scene.overlays[0].mask] = np.nan
        disc, cup = (scene.labels == scene.label_of(name) for name in ("disc", "cup"))
        if disc.any() and cup.any():
            around = (scene.labels == 0) & (green > 20)
            steps.append([np.nanmean(green[m]) for m in (around, disc, cup)])
    mean = np.mean(steps, axis=0)
    assert mean[0] < mean[1] < mean[2]


def test_mostly_orange_sometimes_grey() -> None:
    rng = np.random.default_rng(2)
    images = [make_fundus(rng, 96)[0] for _ in range(40)]
    coloured = [image for image in images if image.ndim == 3]
    assert 20 < len(coloured) < 40
    assert all(image[..., 0].mean() > image[..., 2].mean() for image in coloured)


def test_nothing_lies_outside_the_field() -> None:
    for seed in range(10):
        image, scene = make_fundus(np.random.default_rng(seed), 128)
        dark = (image if image.ndim == 2 else image.max(axis=2)) < 10
        assert not (scene.labels[dark] > 0).mean() > 0.05

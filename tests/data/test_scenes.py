"""Random scenes differ in everything but their rules."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lib.data.phantoms import Phantom, make_phantom
from lib.data.scenes import make_scene


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    rng = np.random.default_rng(0)
    return [make_phantom(rng, 96, "scenes") for _ in range(80)]


def grey(image: np.ndarray) -> np.ndarray:
    return image.astype(float) if image.ndim == 2 else image.mean(axis=2)


def test_colour_and_grey(phantoms: list[Phantom]) -> None:
    coloured = [p for p in phantoms if p.image.ndim == 3]
    assert 0.2 < len(coloured) / len(phantoms) < 0.6
    hues = np.array([p.image.reshape(-1, 3).mean(axis=0) for p in coloured])
    assert np.std(hues - hues.mean(axis=1, keepdims=True), axis=0).min() > 8


def test_objects_of_all_sizes_and_shapes(phantoms: list[Phantom]) -> None:
    masks = [mask for p in phantoms for mask in p.masks]
    areas = np.array([mask.mean() for mask in masks])
    low, middle, high = np.quantile(areas, [0.1, 0.5, 0.9])
    assert low < 0.01 and 0.005 < middle < 0.1 and high > 0.1
    filled = [
        mask.sum() / np.prod([s.stop - s.start for s in ndimage.find_objects(mask.astype(int))[0]])
        for mask in masks
    ]
    assert np.quantile(filled, 0.1) < 0.45 < 0.75 < np.quantile(filled, 0.9)
    holes = [(ndimage.binary_fill_holes(mask) & ~mask).any() for mask in masks]
    assert 0.02 < np.mean(holes) < 0.6


def test_contrast_of_both_signs_and_boundaries_by_texture_alone(phantoms: list[Phantom]) -> None:
    steps, by_texture = [], 0
    for p in phantoms:
        values = grey(p.image)
        for mask in p.masks:
            ring = ndimage.binary_dilation(mask, iterations=3) & ~mask
            steps.append(values[mask].mean() - values[ring].mean())
            by_texture += abs(steps[-1]) < 4 and abs(values[mask].std() - values[ring].std()) > 6
    assert 0.3 < np.mean(np.array(steps) > 0) < 0.7
    assert np.quantile(np.abs(steps), 0.2) < 20 < 45 < np.quantile(np.abs(steps), 0.8)
    assert by_texture >= 1


def test_textures_are_fine_coarse_and_none(phantoms: list[Phantom]) -> None:
    """How alike neighbouring pixels are, within one object each."""
    rough = []
    for p in phantoms:
        values, mask = grey(p.image), max(p.masks, key=np.count_nonzero)
        both = mask[:, 1:] & mask[:, :-1]
        rough.append(np.abs(np.diff(values, axis=1))[both].mean())
    smoothest, roughest = np.quantile(rough, [0.1, 0.9])
    assert smoothest < 5 and roughest > 12


def test_no_two_alike(phantoms: list[Phantom]) -> None:
    small = [grey(p.image)[::8, ::8].ravel() for p in phantoms]
    alike = np.corrcoef(np.array(small))
    np.fill_diagonal(alike, 0)
    assert np.abs(alike).max() < 0.95


def test_labels_have_names() -> None:
    for seed in range(20):
        _, scene = make_scene(np.random.default_rng(seed), 64)
        assert scene.labels.max() <= len(scene.names)
        assert scene.labels.min() >= 0

"""Synthetic volumes: exact, seeded, and as different from each other as they are meant to be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lib.data.phantoms3d import MAX_SHARE, MIN_VOXELS, PHANTOM3D_KINDS, Phantom3d, make_phantom3d
from lib.data.random_fields import smooth_volume
from lib.errors import OptionError

SIZE = 40
MANY = 50


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom3d]:
    return [make_phantom3d(np.random.default_rng(seed), SIZE) for seed in range(MANY)]


def test_the_same_seed_gives_the_same_volume(phantoms):
    again = make_phantom3d(np.random.default_rng(7), SIZE)
    np.testing.assert_array_equal(again.values, phantoms[7].values)
    np.testing.assert_array_equal(again.masks, phantoms[7].masks)
    assert again.names == phantoms[7].names
    assert not np.array_equal(again.values, phantoms[8].values)


def test_volumes_and_masks_are_whole(phantoms):
    for phantom in phantoms:
        assert phantom.values.shape == (SIZE,) * 3 and phantom.values.dtype == np.float32
        assert np.isfinite(phantom.values).all()
        assert phantom.masks.shape == (len(phantom.names), SIZE, SIZE, SIZE)
        assert 1 <= len(phantom.names) <= 4
        sizes = phantom.masks.sum(axis=(1, 2, 3))
        assert (sizes >= MIN_VOXELS).all() and (sizes <= MAX_SHARE * SIZE**3).all()


def test_modalities_have_their_units(phantoms):
    for phantom in phantoms:
        low, high = float(phantom.values.min()), float(phantom.values.max())
        if phantom.modality == "ct":
            assert -1024 <= low and high <= 3071
        else:
            assert low >= 0
    assert {phantom.modality for phantom in phantoms} == {"ct", "mr"}
    assert {phantom.kind for phantom in phantoms} == set(PHANTOM3D_KINDS)


def test_objects_are_small_and_large_compact_and_long(phantoms):
    masks = [mask for phantom in phantoms for mask in phantom.masks]
    sizes = np.array([mask.sum() for mask in masks])
    assert (sizes < 0.003 * SIZE**3).mean() > 0.05
    assert (sizes > 0.05 * SIZE**3).mean() > 0.05

    def compactness(mask: np.ndarray) -> float:
        depth = ndimage.distance_transform_cdt(np.pad(mask, 1), metric="chessboard").max()
        return float((2 * depth) ** 3 / mask.sum())

    shapes = np.array([compactness(mask) for mask in masks])
    assert (shapes < 0.2).any() and (shapes > 0.8).any()


def test_objects_lie_in_others_and_touch_them(phantoms):
    nested = touching = 0
    for phantom in phantoms:
        for first in range(len(phantom.masks)):
            for second in range(first + 1, len(phantom.masks)):
                a, b = phantom.masks[first], phantom.masks[second]
                both = (a & b).sum()
                nested += both > 0 and both == min(a.sum(), b.sum())
                touching += both == 0 and (ndimage.binary_dilation(a) & b).any()
    assert nested >= 3 and touching >= 3


def test_objects_can_be_seen(phantoms):
    for phantom in phantoms:
        for mask in phantom.masks:
            ring = ndimage.binary_dilation(mask, iterations=2) & ~mask
            inside, around = phantom.values[mask], phantom.values[ring]
            assert abs(inside.mean() - around.mean()) > 0.1 * (inside.std() + around.std())


def test_noise_and_thickness_vary(phantoms):
    steps = []
    for phantom in phantoms:
        change = [np.abs(np.diff(phantom.values, axis=axis)).mean() for axis in range(3)]
        steps.append(np.array(change) / phantom.values.std())
    steps = np.array(steps)
    # Thick slices: along one axis neighbours are far more alike than along the others.
    flatness = steps.min(axis=1) / steps.max(axis=1)
    assert (flatness < 0.6).sum() >= 5 and (flatness > 0.8).sum() >= 5
    roughness = steps.max(axis=1)
    assert roughness.max() > 4 * roughness.min()


def test_both_kinds_can_be_asked_for():
    for kind in PHANTOM3D_KINDS:
        phantom = make_phantom3d(np.random.default_rng(1), 32, kind, "mr", most=2)
        assert (phantom.kind, phantom.modality) == (kind, "mr") and len(phantom.names) <= 2


@pytest.mark.parametrize("wrong", [{"kind": "car"}, {"size": 16}, {"size": 1000}])
def test_what_cannot_be_made_is_refused(wrong):
    with pytest.raises(OptionError):
        make_phantom3d(np.random.default_rng(0), **wrong)


def test_smooth_volumes_have_unit_variance_and_their_axes_in_order():
    rng = np.random.default_rng(2)
    fields = [smooth_volume(rng, (10, 20, 30), 4.0) for _ in range(60)]
    assert fields[0].shape == (10, 20, 30)
    assert np.std(fields) == pytest.approx(1.0, abs=0.1)
    slow = smooth_volume(rng, (40, 40, 40), 20.0)
    assert np.abs(np.diff(slow, axis=1)).max() < 0.35

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lib.data.phantoms import (
    MAX_AREA,
    MIN_AREA,
    MIN_CONTRAST,
    PHANTOM_KINDS,
    PHANTOM_SHARES,
    Phantom,
    make_phantom,
)
from lib.errors import OptionError

SIZE = 128


def _many(kind: str | None, count: int) -> list[Phantom]:
    return [make_phantom(np.random.default_rng(seed), SIZE, kind) for seed in range(count)]


def _grey(phantom: Phantom) -> np.ndarray:
    image = phantom.image.astype(float)
    return image if image.ndim == 2 else image.mean(axis=2)


@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_every_kind_gives_an_image_and_single_visible_objects(kind: str) -> None:
    for phantom in _many(kind, 8):
        assert phantom.kind == kind
        assert phantom.image.dtype == np.uint8
        assert phantom.image.shape in ((SIZE, SIZE), (SIZE, SIZE, 3))
        assert phantom.masks.dtype == np.bool_
        assert phantom.masks.shape == (len(phantom.names), SIZE, SIZE)
        assert len(phantom.names) >= 1
        assert all(phantom.names)
        for mask in phantom.masks:
            assert MIN_AREA <= mask.mean() <= MAX_AREA
            assert ndimage.label(mask)[1] == 1


@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_same_seed_same_phantom_other_seed_other_phantom(kind: str) -> None:
    first, again, other = (make_phantom(np.random.default_rng(s), SIZE, kind) for s in (3, 3, 4))

    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.masks, again.masks)
    assert first.names == again.names
    assert first.image.shape != other.image.shape or not np.array_equal(first.image, other.image)


def test_one_generator_goes_through_all_kinds() -> None:
    rng = np.random.default_rng(0)
    seen = {make_phantom(rng, 64).kind for _ in range(150)}

    assert seen == set(PHANTOM_KINDS)


@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_brightness_and_object_size_spread(kind: str) -> None:
    phantoms = _many(kind, 16)
    brightness = [float(_grey(p).mean()) for p in phantoms]
    area = [float(p.masks[0].mean()) for p in phantoms]
    places = [ndimage.center_of_mass(p.masks[0]) for p in phantoms]

    assert np.std(brightness) > 4.0
    assert max(area) > 2.0 * min(area)
    assert np.std(places, axis=0).min() > 0.03 * SIZE


def test_contrast_has_both_signs_and_many_heights() -> None:
    contrast = np.asarray(
        [
            _grey(p)[mask].mean()
            - _grey(p)[ndimage.binary_dilation(mask, iterations=4) & ~mask].mean()
            for p in _many(None, 60)
            for mask in p.masks
        ]
    )

    assert 0.2 < (contrast > 0).mean() < 0.8
    assert (np.abs(contrast) < 25).mean() > 0.1
    assert (np.abs(contrast) > 80).mean() > 0.05


def test_kinds_differ_in_texture_and_colour() -> None:
    """Where a kind lies in a table of statistics is its own; and each is spread out itself."""
    table = {}
    for kind in PHANTOM_KINDS:
        rows = []
        for phantom in _many(kind, 10):
            grey = _grey(phantom)
            image = phantom.image.astype(float)
            hue = 0.0 if image.ndim == 2 else (image[..., 0] - image[..., 2]).mean()
            fine = np.abs(np.diff(grey, axis=0)).mean()
            rows.append((grey.mean(), grey.std(), fine, hue, np.log(phantom.masks[0].mean())))
        table[kind] = np.array(rows)
    everything = np.concatenate(list(table.values()))
    spread = everything.std(axis=0)
    centres = {kind: rows.mean(axis=0) / spread for kind, rows in table.items()}
    for kind, rows in table.items():
        assert (rows.std(axis=0) > 0.05 * spread)[[0, 1, 2, 4]].all(), kind
        others = [np.linalg.norm(centres[kind] - c) for k, c in centres.items() if k != kind]
        assert min(others) > 0.15, kind


def test_no_two_phantoms_are_alike() -> None:
    phantoms = _many(None, 80)
    small = np.array([_grey(p)[::8, ::8].ravel() for p in phantoms])
    alike = np.corrcoef(small)
    np.fill_diagonal(alike, 0.0)
    assert alike.max() < 0.98
    assert len({p.masks[0].tobytes() for p in phantoms}) == len(phantoms)


def test_shares_belong_to_the_kinds_and_are_kept() -> None:
    assert len(PHANTOM_SHARES) == len(PHANTOM_KINDS)
    assert sum(PHANTOM_SHARES) == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    kinds = [make_phantom(rng, 64, most=1).kind for _ in range(400)]
    for kind, share in zip(PHANTOM_KINDS, PHANTOM_SHARES, strict=True):
        assert kinds.count(kind) / 400 == pytest.approx(share, abs=0.06)


def test_a_few_objects_are_some_of_all() -> None:
    whole = make_phantom(np.random.default_rng(5), 256, "microscopy")
    some = make_phantom(np.random.default_rng(5), 256, "microscopy", most=3)
    assert np.array_equal(whole.image, some.image)
    assert len(some.masks) == 3 < len(whole.masks)
    every = {mask.tobytes() for mask in whole.masks}
    assert all(mask.tobytes() in every for mask in some.masks)


@pytest.mark.parametrize("kind", ["dermoscopy", "endoscopy"])
def test_camera_kinds_are_in_colour(kind: str) -> None:
    for phantom in _many(kind, 3):
        assert phantom.image.shape == (SIZE, SIZE, 3)
        assert np.ptp(phantom.image.astype(int), axis=2).max() > 15


def test_abdomen_shows_the_organs_of_the_sample_volume() -> None:
    names = {name for p in _many("ct_abdomen", 30) for name in p.names}

    assert {
        "liver", "spleen", "right kidney", "left kidney", "aorta", "stomach", "vertebra",
        "gallbladder", "liver lesion 1",
    } <= names  # fmt: skip


def test_size_is_the_side_of_the_image() -> None:
    phantom = make_phantom(np.random.default_rng(0), 200, "shapes")

    assert phantom.image.shape[:2] == (200, 200)


def test_an_unknown_kind_is_refused_with_the_list() -> None:
    with pytest.raises(OptionError, match="ct_abdomen") as caught:
        make_phantom(np.random.default_rng(0), kind="ct_foot")

    assert "ct_foot" in caught.value.got


@pytest.mark.parametrize("size", [-1, 0, 63, 2049])
def test_a_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(OptionError, match="64 to 2048"):
        make_phantom(np.random.default_rng(0), size)


@pytest.mark.parametrize("kind", ["ct_abdomen", "mr_brain", "ultrasound", "shapes"])
def test_no_object_is_invisible(kind: str) -> None:
    for phantom in _many(kind, 12):
        grey = _grey(phantom)
        for mask in phantom.masks:
            ring = ndimage.binary_dilation(mask, np.ones((5, 5))) & ~mask
            assert abs(grey[mask].mean() - grey[ring].mean()) >= MIN_CONTRAST - 0.01

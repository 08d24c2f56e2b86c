"""Cubes to learn from."""

from __future__ import annotations

from itertools import islice

import nibabel
import numpy as np
import pytest

from lib.data.phantoms3d import MIN_VOXELS
from lib.data.windows3d import (
    CLIP,
    LabelledVolume,
    Mixture3d,
    cut,
    read_volumes,
    window_stream,
)

SIZE = 32


def volume() -> LabelledVolume:
    """Two boxes of their own values."""
    values = np.random.default_rng(0).normal(50, 5, (60, 50, 40)).astype(np.float32)
    labels = np.zeros(values.shape, np.uint8)
    labels[5:20, 5:20, 5:20], labels[35:55, 25:45, 15:35] = 1, 2
    return LabelledVolume("boxes", "boxes", values + 100 * labels, labels, {1: "small", 2: "large"})


def drawn(mixture: Mixture3d, count: int, seed: int = 0, volumes=()):
    stream = window_stream(volumes, mixture, SIZE, np.random.default_rng(seed))
    return list(islice(stream, count))


def test_windows_hold_what_is_promised():
    for window in drawn(Mixture3d(0.5, stock=8), 30, volumes=[volume()]):
        assert window.volume.shape == (SIZE,) * 3 and window.volume.dtype == np.float32
        assert np.abs(window.volume).max() <= CLIP
        assert 1 <= len(window.masks) <= 3 and window.masks.dtype == np.bool_
        assert (window.masks.sum(axis=(1, 2, 3)) >= 1).all()


def test_the_same_seed_gives_the_same_stream():
    first, again, other = (drawn(Mixture3d(stock=4), 6, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a.volume, b.volume) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].volume, other[0].volume)


def test_cubes_are_used_again_in_other_ways():
    windows = drawn(Mixture3d(uses=20, stock=4), 40)
    sizes = {tuple(sorted(mask.sum() for mask in window.masks)) for window in windows}
    assert len(sizes) < 30
    assert len({window.volume.tobytes() for window in windows}) == 40


def test_real_windows_show_the_object_they_were_cut_for():
    windows = drawn(Mixture3d(real_share=1.0, uses=1), 20, volumes=[volume()])
    for window in windows:
        assert max(window.masks.sum(axis=(1, 2, 3))) >= MIN_VOXELS
        # Objects of one value stay of one value.
        mask = window.masks[0]
        assert window.volume[mask].std() < window.volume.std() + 0.5


def test_what_lies_outside_is_filled():
    array = np.arange(8.0).reshape(2, 2, 2)
    cube = cut(array, (-1, 0, 1), 3, -5.0)
    assert cube[1, 0, 0] == array[0, 0, 1] and (cube[0] == -5).all() and (cube[..., 1:] == -5).all()


@pytest.fixture
def folder(tmp_path):
    """A pair with voxels of 3 mm, lying on its side."""
    affine = np.array([[0, 3.0, 0, 0], [-3.0, 0, 0, 60], [0, 0, 3.0, 0], [0, 0, 0, 1]])
    labels = np.zeros((20, 16, 12), np.uint8)
    labels[4:12, 4:10, 3:9] = 7
    for name, array in (("image", labels.astype(np.float32) * 10), ("label", labels)):
        nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / f"a_{name}.nii.gz")
    return tmp_path


def test_volumes_are_read_upright_with_voxels_of_1_5_mm(folder):
    (read,) = read_volumes(folder)
    assert read.name == "a" and read.names == {1: "7"}
    assert read.values.shape == read.labels.shape
    assert read.values.shape[0] < read.values.shape[1], "axes are patient axes"
    share = (read.labels == 1).sum() / 8 / (8 * 6 * 6)
    assert share == pytest.approx(1.0, abs=0.2)
    assert read.values[read.labels == 1].mean() > 55

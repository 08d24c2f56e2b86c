"""The endless mix of phantoms and real images."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from lib.data.pool import LabelledImage
from lib.data.stream import Mixture, sample_stream


def take(count: int, seed: int, images: list[LabelledImage], **mixture: float) -> list:
    return list(
        islice(sample_stream(images, Mixture(**mixture), np.random.default_rng(seed)), count)
    )


def make_real(patient: str, value: int) -> LabelledImage:
    mask = np.zeros((1, 256, 256), dtype=bool)
    mask[0, 50:150, 60:180] = True
    image = np.full((256, 256, 3), value, dtype=np.uint8)
    return LabelledImage(patient, patient, image, mask, ("a",))


def test_shapes_and_objects() -> None:
    for sample in take(12, 0, [], objects=2):
        assert sample.image.shape == (256, 256, 3)
        assert sample.image.dtype == np.uint8
        assert 1 <= len(sample.masks) <= 2
        share = sample.masks.mean(axis=(1, 2))
        assert (share >= 0.00153).all()
        assert (share <= 0.7).all()


def test_seeds_repeat_and_differ() -> None:
    first, again, other = (take(4, seed, []) for seed in (1, 1, 2))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a.image, b.image) for a, b in zip(first, other, strict=True))


def test_patients_are_drawn_alike_whatever_their_number_of_images() -> None:
    from lib.data.augment import Augmentation

    quiet = Augmentation(crop_share=0, window_jitter=0, gamma=1.0, noise=0.0, invert_share=0.0)
    images = [make_real("many", 100)] * 50 + [make_real("one", 200)]
    samples = take(60, 0, images, real_share=1.0, augmentation=quiet)
    rare = sum(int(sample.image.max()) == 200 for sample in samples)
    assert 15 <= rare <= 45


def test_chosen_kinds_only() -> None:
    from lib.errors import OptionError

    dermoscopy = take(3, 0, [], kinds=("dermoscopy",))
    assert all((s.image[..., 0] != s.image[..., 2]).any() for s in dermoscopy)
    grey = take(3, 0, [], kinds=("ct_abdomen", "mr_brain"))
    assert all((s.image[..., 0] == s.image[..., 2]).all() for s in grey)
    with pytest.raises(OptionError):
        take(1, 0, [], kinds=("sculpture",))

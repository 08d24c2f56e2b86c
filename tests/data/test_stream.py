"""The endless mix of phantoms and real images."""

from __future__ import annotations

from dataclasses import fields
from itertools import islice
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from lib.data.pool import LabelledImage
from lib.data.stream import Mixture, sample_stream
from lib.data.tone import Toning
from lib.data.viewpoint import Viewing

STILL = Viewing(whole_share=1.0, bend_share=0.0)
SILENT = Toning(**{f.name: 0.0 for f in fields(Toning)})
REAL_SHARE = 100 * 120 / 256**2


def take(count: int, seed: int, images: list[LabelledImage], **mixture: Any) -> list:
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


def test_sources_are_drawn_alike_whatever_their_number_of_images() -> None:
    images = [make_real("many", 100)] * 50 + [make_real("one", 200)]
    samples = take(60, 0, images, real_share=1.0, region_share=0.0, viewing=STILL, toning=SILENT)
    assert all(np.array_equal(sample.masks[0].mean(), REAL_SHARE) for sample in samples)
    rare = sum(int(sample.image.max()) == 200 for sample in samples)
    assert 15 <= rare <= 45


def test_real_images_come_as_often_as_asked() -> None:
    flat = [make_real("a", 200)]
    kinds = {"kinds": ("mr_brain",), "toning": SILENT, "viewing": STILL, "phantom_views": 0.0}
    for share in (0.0, 0.3, 1.0):
        samples = take(60, 3, flat, real_share=share, region_share=0.0, **kinds)
        real = sum(int(np.ptp(sample.image)) == 0 for sample in samples)
        assert real / 60 == pytest.approx(share, abs=0.15)


def test_segments_are_shown_as_often_as_asked() -> None:
    """A disc is to be seen, a rectangle beside it is labelled."""
    y, x = np.mgrid[:256, :256]
    disc = np.hypot(y - 190, x - 180) < 30
    case = make_real("a", 60)
    image = np.where(disc[..., None], 190, case.image).astype(np.uint8)
    case = LabelledImage("a", "a", image, case.masks, case.labels)
    for share in (0.0, 0.5, 1.0):
        samples = take(
            40, 1, [case], real_share=1.0, region_share=share, viewing=STILL, toning=SILENT
        )
        shown = sum(float(sample.masks.mean()) < 0.1 for sample in samples)
        assert shown / 40 == pytest.approx(share, abs=0.2)


def test_small_and_large_objects_come_alike() -> None:
    area = np.concatenate([s.masks.mean(axis=(1, 2)) for s in take(150, 5, [], size=128)])
    assert np.quantile(area, 0.1) < 0.008
    assert 0.008 < np.quantile(area, 0.5) < 0.06
    assert np.quantile(area, 0.9) > 0.08
    assert area.max() > 0.3


def test_views_and_tones_change_phantoms_as_often_as_asked() -> None:
    same = {"kinds": ("ultrasound",), "size": 96}
    plain = take(8, 0, [], phantom_views=0.0, phantom_tones=0.0, **same)
    again = take(8, 0, [], phantom_views=0.0, phantom_tones=0.0, **same)
    varied = take(8, 0, [], phantom_views=1.0, phantom_tones=1.0, **same)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(plain, again, strict=True))
    assert not any(np.array_equal(a.image, b.image) for a, b in zip(plain, varied, strict=True))


def test_objects_stay_connected_when_a_view_cuts_them() -> None:
    for sample in take(40, 2, [], kinds=("scenes", "fundus"), phantom_views=1.0, size=96):
        for mask in sample.masks:
            assert ndimage.label(mask)[1] == 1


def test_chosen_kinds_only() -> None:
    from lib.errors import OptionError

    dermoscopy = take(3, 0, [], kinds=("dermoscopy",))
    assert all((s.image[..., 0] != s.image[..., 2]).any() for s in dermoscopy)
    grey = take(3, 0, [], kinds=("ct_abdomen", "mr_brain"))
    assert all((s.image[..., 0] == s.image[..., 2]).all() for s in grey)
    with pytest.raises(OptionError):
        take(1, 0, [], kinds=("sculpture",))

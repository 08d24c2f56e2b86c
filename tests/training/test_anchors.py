"""The phantoms that guard against wrong labels."""

from __future__ import annotations

import numpy as np

from lib.data.phantoms import PHANTOM_KINDS
from lib.data.pool import MAX_AREA_SHARE, MIN_AREA_SHARE
from lib.prompts.components import component_areas
from lib.training.anchors import OBJECTS, anchor_images


def test_they_are_the_same_at_each_call() -> None:
    first, second = anchor_images(6), anchor_images(6)
    for one, other in zip(first, second, strict=True):
        assert (one.name, one.labels) == (other.name, other.labels)
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.masks, other.masks)
    assert not np.array_equal(anchor_images(1, seed=1)[0].image, first[0].image)


def test_fewer_of_them_are_the_first_ones() -> None:
    assert [image.name for image in anchor_images(3)] == [i.name for i in anchor_images(5)][:3]


def test_all_kinds_with_objects_that_can_be_clicked_on() -> None:
    images = anchor_images(len(PHANTOM_KINDS))
    assert [image.name.split()[-1] for image in images] == list(PHANTOM_KINDS)
    assert len({image.patient for image in images}) == len(images)
    for image in images:
        assert 1 <= len(image.masks) == len(image.labels) <= OBJECTS
        assert image.masks.shape[1:] == image.image.shape[:2] == (256, 256)
        for mask in image.masks:
            assert MIN_AREA_SHARE <= mask.mean() <= MAX_AREA_SHARE
            assert len(component_areas(mask)[1]) == 1


def test_other_sizes() -> None:
    (image,) = anchor_images(1, size=128)
    assert image.image.shape[:2] == (128, 128)

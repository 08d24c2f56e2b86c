"""Telling labels that belong to their images from labels that do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lib.data.pool import LabelledImage
from lib.networks.weights import build_model
from lib.training.anchors import anchor_images
from lib.training.foreign import exchanged, label_fit, own_image_gain, turned
from lib.training.gate import GateRule
from lib.training.validation import TargetScore


def image(name: str, patient: str, height: int = 6, width: int = 8) -> LabelledImage:
    pixels = np.arange(height * width, dtype=np.int16).reshape(height, width) + 100 * len(name)
    masks = np.ones((1, height, width), dtype=bool)
    return LabelledImage(name, patient, pixels, masks, ("a",), "CT", "CHEST")


def scores(*dices: float, names: str = "abcdef") -> tuple[TargetScore, ...]:
    return tuple(
        TargetScore(name, name, "x", {"box": dice, "1": dice}, 6)
        for name, dice in zip(names, dices, strict=False)
    )


def test_turned_images_keep_their_objects() -> None:
    own = image("a", "p")
    (found,) = turned([own])
    assert np.array_equal(found.image, np.rot90(own.image, 2))
    assert found.masks is own.masks
    colour = replace(own, image=np.dstack([own.image] * 3))
    assert np.array_equal(turned([colour])[0].image[..., 1], found.image)


def test_exchanged_images_are_of_other_patients_and_of_the_same_size() -> None:
    own = [image("a", "p"), image("bb", "p"), image("ccc", "q", 10, 4)]
    other = replace(own[2], modality="MR", body_part=None)
    found = exchanged(own, [*own[:2], other])
    assert [case.name for case in found] == ["a", "bb", "ccc"]
    assert all(new.image.shape == old.image.shape for new, old in zip(found, own, strict=True))
    assert all(new.masks is old.masks for new, old in zip(found, own, strict=True))
    assert [(case.modality, case.body_part) for case in found[:2]] == [("MR", None)] * 2
    assert set(found[0].image.ravel()) <= set(other.image.ravel())
    assert found[2].modality == "CT"
    assert exchanged(own, own[::-1])[0].image.tolist() == exchanged(own, own)[0].image.tolist()


def test_a_single_patient_has_none_to_exchange_with() -> None:
    own = [image("a", "p"), image("b", "p")]
    assert exchanged(own, own) == ()
    assert exchanged([], own) == ()


def test_the_gain_is_the_mean_over_foreign_images() -> None:
    own = scores(0.9, 0.7)
    found = own_image_gain(own, [scores(0.5, 0.7), scores(0.7, 0.3)])
    assert found is not None
    assert found.n_targets == 2
    assert found.gain.mean == pytest.approx((0.3 + 0.2) / 2)
    assert found.gain.low == pytest.approx(0.2)
    assert found.gain.high == pytest.approx(0.3)
    half = own_image_gain(own, [scores(0.5, 0.7), ()])
    assert half is not None
    assert half.gain.mean == pytest.approx(0.2)


def test_without_anything_to_compare_there_is_none() -> None:
    assert own_image_gain((), [(), ()]) is None
    assert own_image_gain(scores(0.5), [()]) is None
    assert label_fit(build_model("samed2d_t"), []) is None


def test_other_objects_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different objects"):
        own_image_gain(scores(0.5), [scores(0.5, names="b")])


def shuffled(images: tuple[LabelledImage, ...]) -> tuple[LabelledImage, ...]:
    """Each image with the masks of the next one."""
    following = (*images[1:], images[0])
    return tuple(
        replace(own, masks=other.masks, labels=other.labels)
        for own, other in zip(images, following, strict=True)
    )


def test_the_shipped_network_tells_right_labels_from_shuffled_ones() -> None:
    images = anchor_images(10, seed=1)
    model = build_model("samed2d_t")
    right, wrong = label_fit(model, images), label_fit(model, shuffled(images))
    assert right is not None
    assert wrong is not None
    assert right.gain.mean > wrong.gain.mean + 0.05
    assert GateRule().fits(right)
    assert not GateRule().fits(wrong)

"""What is learned from in a label map, and what is left out with a reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lib.data.labelled_slices import (
    EMPTY,
    NO_LABEL_MAP,
    NO_NUMBERS,
    NOTHING_HERE,
    OTHER_GRID,
    TOO_LARGE,
    TOO_LONG,
    TOO_SMALL,
    LabelledSlices,
    Skipped,
    slices_of,
)
from lib.imaging.volume import Volume

SHAPE = (40, 30, 5)
NAMES = {1: "liver", 2: "spleen"}


def volume(shape: tuple[int, ...] = SHAPE) -> Volume:
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    return Volume(array, np.eye(4), modality="CT", body_part="CHEST")


def label_map() -> np.ndarray:
    """A liver in two pieces on slice 1, and a spleen beside one piece of it on slice 3."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:10, 3:9, 1] = 1
    labels[20:28, 3:9, 1] = 1
    labels[2:10, 3:9, 3] = 1
    labels[10:20, 3:9, 3] = 2
    return labels


def read(labels: np.ndarray, **more: object) -> LabelledSlices:
    return slices_of("case", "person", volume(), labels, NAMES, **more)  # type: ignore[arg-type]


def test_every_component_of_every_label_is_a_target() -> None:
    found = read(label_map())
    assert found.skipped == ()
    assert [image.name for image in found.images] == ["case#k0001", "case#k0003"]
    assert [image.labels for image in found.images] == [("liver", "liver"), ("liver", "spleen")]
    first = found.images[0]
    assert (first.patient, first.modality, first.body_part) == ("person", "CT", "CHEST")
    np.testing.assert_array_equal(first.image, volume().slice(1))
    np.testing.assert_array_equal(first.masks.sum(axis=0), label_map()[:, :, 1].T)
    rows, columns = np.nonzero(first.masks[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 8, 2, 9)


def test_pieces_that_touch_at_a_corner_are_one_target() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:8, 2:8, 0] = labels[8:14, 8:14, 0] = 1
    assert len(read(labels).images[0].masks) == 1


def test_values_without_a_name_get_their_number() -> None:
    assert read(np.where(label_map(), 9, 0)).images[0].labels == ("label 9",) * 2


def test_the_slices_do_not_keep_the_volume_in_memory() -> None:
    assert all(image.image.base is None for image in read(label_map()).images)


def test_colour_and_a_single_slice() -> None:
    picture = Volume(np.zeros((40, 30, 1, 3), np.uint8), np.eye(4))
    found = slices_of("picture", "p", picture, label_map()[:, :, 3], NAMES)
    assert found.images[0].image.shape == (30, 40, 3)
    assert found.images[0].labels == ("liver", "spleen")


def test_too_small_and_too_large_are_left_out_and_the_rest_is_kept() -> None:
    labels = label_map()
    labels[39, 29, 1] = labels[39, 0, 1] = 2  # one pixel of 1200 is below 0.153 %
    labels[:, :, 4] = 1
    found = read(labels)
    assert len(found.images) == 2
    assert found.skipped == (
        Skipped("case", 1, "spleen", TOO_SMALL),
        Skipped("case", 4, "liver", TOO_LARGE),
    )
    assert found.counts() == {TOO_SMALL: 1, TOO_LARGE: 1}


def test_reviewed_slices_without_a_label_are_counted() -> None:
    found = read(label_map(), reviewed=frozenset({0, 1, 99, -1}))
    assert found.skipped == (Skipped("case", 0, "", NOTHING_HERE),)


def test_long_thin_slices_are_left_out() -> None:
    thin = np.zeros((61, 30, 1), np.uint8)
    thin[5:20, 5:20] = 1
    found = slices_of("case", "p", volume((61, 30, 1)), thin, NAMES)
    assert found.images == ()
    assert found.counts() == {TOO_LONG: 1}


def with_one(value: float, dtype: type = np.float32) -> np.ndarray:
    labels = label_map().astype(dtype)
    labels[0, 0, 0] = value
    return labels


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros(SHAPE, np.uint8), EMPTY),
        (np.zeros((40, 30, 4), np.uint8), OTHER_GRID),
        (np.zeros((30, 40, 5), np.uint8), OTHER_GRID),
        (np.zeros((40, 30), np.uint8), OTHER_GRID),
        (np.zeros((*SHAPE, 2), np.uint8), OTHER_GRID),
        (np.zeros(7, np.uint8), OTHER_GRID),
        (with_one(np.nan), NO_NUMBERS),
        (with_one(np.inf), NO_NUMBERS),
        (with_one(0.5), NO_NUMBERS),
        (with_one(-1), NO_NUMBERS),
        (with_one(-1, np.int16), NO_NUMBERS),
        (with_one(np.iinfo(np.int64).min, np.int64), NO_NUMBERS),
        (with_one(2**63, np.uint64), NO_NUMBERS),
        (np.full(SHAPE, "a"), NO_NUMBERS),
        (np.ones(SHAPE, np.complex64), NO_NUMBERS),
    ],
)
def test_label_maps_that_cannot_be_used(labels: np.ndarray, reason: str) -> None:
    found = read(labels)
    assert found.images == ()
    assert found.skipped == (Skipped("case", None, "", reason),)


def test_whole_numbers_as_floats_and_a_fourth_axis_are_fine() -> None:
    plain = read(label_map())
    for labels in (label_map().astype(np.float64), label_map()[..., None]):
        np.testing.assert_array_equal(read(labels).images[0].masks, plain.images[0].masks)


def test_an_image_saved_as_label_is_left_out() -> None:
    found = read(volume().array)
    assert found.images == ()
    assert found.counts() == {NO_LABEL_MAP: SHAPE[2]}


def test_noise_gives_one_entry_for_each_label_and_slice() -> None:
    specks = np.zeros(SHAPE, np.uint8)
    specks[::3, ::3] = 1
    found = read(specks)
    assert found.images == ()
    assert found.counts() == {TOO_SMALL: SHAPE[2]}


def test_digest_depends_on_everything_but_the_order() -> None:
    found = read(label_map())
    digests = {found.digest, read(np.where(label_map() == 2, 0, label_map())).digest}
    first, *others = found.images
    for change in (
        {"name": "other"},
        {"labels": ("a", "b")},
        {"image": first.image + 1},
        {"masks": ~first.masks},
    ):
        digests.add(LabelledSlices((replace(first, **change), *others)).digest)  # type: ignore[arg-type]
    assert len(digests) == 6
    assert LabelledSlices(found.images[::-1]).digest == found.digest
    assert len(found.digest) == 64


def test_several_images_together() -> None:
    one, two = read(label_map()), read(np.zeros(SHAPE, np.uint8))
    both = LabelledSlices.joined([one, two])
    assert (both.images, both.skipped) == (one.images, two.skipped)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.int16, np.float32, np.bool_]),
        st.sampled_from([(12, 9, 2), (9, 12, 2), (12, 9)]),
        fill=st.just(0),
    )
)
def test_whatever_a_label_map_holds_nothing_is_raised(labels: np.ndarray) -> None:
    found = slices_of("case", "p", volume((12, 9, 2)), labels, {})
    assert found.images or found.skipped
    for image in found.images:
        assert image.masks.shape == (len(image.labels), 9, 12)
        assert image.masks.any(axis=(1, 2)).all()

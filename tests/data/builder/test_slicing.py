"""Rules for slices, grey values and components."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.builder.slicing import (
    NO_MASK,
    ONE_GREY,
    TOO_LONG,
    TOO_SMALL,
    Greys,
    Layer,
    Skips,
    find_parts,
    flat_picture,
    slice_volume,
    stretch,
    to_lps,
)
from lib.errors import ImageError

IDS = {1: "0000", 2: "0004"}


def test_grey_values_run_from_0_to_254_as_in_the_published_images() -> None:
    values = np.array([-1000, 0, 1000], np.int16)
    assert Greys.of(values).of_slice(values).tolist() == [0, 127, 254]


@given(
    st.integers(-32768, 32767), st.integers(-32768, 32767), st.sampled_from(["<i2", "<i4", "<f4"])
)
def test_the_table_gives_what_the_formula_gives(a: int, b: int, kind: str) -> None:
    values = np.linspace(min(a, b), max(a, b) + 1, 50).astype(np.int64).clip(-32768, 32767)
    values = values.astype(kind)
    expected = stretch(values, float(values.min()), float(values.max()))
    np.testing.assert_array_equal(Greys.of(values).of_slice(values), expected)


def test_unsigned_values_do_not_wrap() -> None:
    values = np.array([65535, 60000, 1], np.uint16)
    assert Greys.of(values).of_slice(values).tolist() == [254, 233, 0]


@pytest.mark.parametrize("code", ["RAS", "LPS", "PIR", "SAL", "IRP"])
def test_axes_run_left_back_up_whatever_the_file_says(code: str) -> None:
    rng = np.random.default_rng(0)
    ras = rng.integers(0, 99, (4, 5, 6)).astype(np.int16)
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(code)
    )
    stored = nibabel.Nifti1Image(ras, np.eye(4)).as_reoriented(turn)
    np.testing.assert_array_equal(
        to_lps(np.asarray(stored.dataobj), stored.affine), ras[::-1, ::-1]
    )


def test_slices_along_all_axes_and_their_masks() -> None:
    volume = np.arange(10 * 12 * 14, dtype=np.int32).reshape(10, 12, 14)
    labels = np.zeros(volume.shape, np.uint8)
    labels[2:6, 3:9, 4] = 1
    skips = Skips()
    pictures = list(slice_volume(volume, [Layer(labels, IDS)], "xyz", True, skips))
    assert [p.place for p in pictures] == [
        *(f"x_{i:04d}" for i in range(2, 6)),
        *(f"y_{j:04d}" for j in range(3, 9)),
        "z_0004",
    ]
    axial = pictures[-1]
    assert axial.pixels.shape == (12, 10, 3)
    np.testing.assert_array_equal(axial.parts[0].mask((12, 10)) > 0, labels[:, :, 4].T > 0)
    assert skips.counts == {NO_MASK: 36 - len(pictures)}


def test_slices_that_are_too_long_are_dropped() -> None:
    volume = np.random.default_rng(0).random((20, 20, 9))
    labels = np.ones(volume.shape, np.uint8)
    skips = Skips()
    places = [p.place for p in slice_volume(volume, [Layer(labels, IDS)], "xyz", True, skips)]
    assert places == [f"z_{k:04d}" for k in range(9)]
    assert skips.counts[TOO_LONG] == 40
    volume, labels = volume[:, :18], labels[:, :18]
    places = [p.place for p in slice_volume(volume, [Layer(labels, IDS)], "y", True, skips)]
    assert places == [] and len(list(slice_volume(volume, [Layer(labels, IDS)], "x", True, skips)))


def test_a_slice_of_one_grey_value_is_dropped() -> None:
    volume = np.zeros((8, 8, 8), np.int16)
    volume[0] = 5
    skips = Skips()
    labels = np.ones(volume.shape, np.uint8)
    assert list(slice_volume(volume, [Layer(labels, IDS)], "x", False, skips)) == []
    assert skips.counts == {ONE_GREY: 8}


def test_components_touch_at_corners_and_count_in_raster_order() -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[10, 2] = labels[11, 3] = 1
    labels[2, 15] = 1
    labels[5:9, 5:9] = 2
    parts = list(find_parts([(labels, IDS)], Skips()))
    assert [(p.class_id, p.instance, int(p.inside.sum())) for p in parts] == [
        ("0000", 0, 1),
        ("0000", 1, 2),
        ("0004", 0, 16),
    ]


def test_the_smallest_mask() -> None:
    labels = np.zeros((100, 100), np.uint8)
    labels[0, :16] = 1
    labels[50, :15] = 2
    skips = Skips()
    assert [p.class_id for p in find_parts([(labels, IDS)], skips)] == ["0000"]
    assert skips.counts == {TOO_SMALL: 1}


def test_values_without_a_class_are_passed_over() -> None:
    labels = np.full((9, 9), 3, np.uint8)
    assert list(find_parts([(labels, IDS)], Skips())) == []


def test_instances_go_on_in_the_next_layer() -> None:
    labels = np.ones((9, 9), np.uint8)
    parts = find_parts([(labels, IDS), (labels, IDS)], Skips())
    assert [p.instance for p in parts] == [0, 1]


@pytest.mark.parametrize("value", [256, -1])
def test_flat_images_must_be_8_bit(value: int) -> None:
    pixels = np.zeros((9, 9), np.int32)
    pixels[0, 0] = value
    with pytest.raises(ImageError, match="0 to 255"):
        list(flat_picture(pixels, [(np.ones((9, 9), np.uint8), IDS)], False, Skips()))


def test_flat_images_of_fractions_are_not_cut_down_to_black() -> None:
    pixels = np.linspace(0, 1, 81, dtype=np.float32).reshape(9, 9)
    layers = [(np.ones((9, 9), np.uint8), IDS)]
    with pytest.raises(ImageError, match="intensity: slice"):
        list(flat_picture(pixels, layers, False, Skips()))
    (picture,) = flat_picture(pixels, layers, True, Skips())
    assert (picture.pixels.min(), picture.pixels.max()) == (0, 254)
    (picture,) = flat_picture(np.rint(pixels * 200), layers, False, Skips())
    assert (picture.pixels.min(), picture.pixels.max()) == (0, 200)


@pytest.mark.parametrize("stretched", [False, True])
def test_flat_images_with_holes_are_refused(stretched: bool) -> None:
    pixels = np.full((9, 9), np.nan)
    with pytest.raises(ImageError, match="no numbers"):
        list(flat_picture(pixels, [(np.ones((9, 9), np.uint8), IDS)], stretched, Skips()))


def test_flat_images_may_be_long() -> None:
    pixels = np.arange(90, dtype=np.uint8).reshape(3, 30)
    (picture,) = flat_picture(pixels, [(np.ones((3, 30), np.uint8), IDS)], False, Skips())
    assert picture.pixels.shape == (3, 30, 3)


def test_flat_images_keep_their_pixels() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    labels = np.ones((9, 9), np.uint8)
    (picture,) = flat_picture(colour, [(labels, IDS)], False, Skips())
    np.testing.assert_array_equal(picture.pixels, colour)
    (picture,) = flat_picture(colour[..., 0].astype(np.uint16), [(labels, IDS)], False, Skips())
    np.testing.assert_array_equal(picture.pixels, np.repeat(colour[..., :1], 3, 2))


def test_another_grid_is_refused() -> None:
    layer = Layer(np.ones((8, 8, 7), np.uint8), IDS)
    with pytest.raises(ImageError, match="one grid"):
        list(slice_volume(np.zeros((8, 8, 8)), [layer], "xyz", True, Skips()))
    with pytest.raises(ImageError, match="one grid"):
        list(flat_picture(np.zeros((8, 8)), [(np.ones((8, 9), np.uint8), IDS)], False, Skips()))

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lib.errors import ImageError, OptionError
from lib.imaging.intensity import (
    CT_WINDOWS,
    Window,
    choose_window,
    looks_like_ct,
    normalise_slice,
    to_uint8,
)
from lib.options import INTENSITIES


@pytest.fixture
def ct() -> np.ndarray:
    """A body (40 HU) with fat (-100) and bone (800) in air (-1000)."""
    image = np.full((64, 64), -1000, np.int16)
    image[8:56, 8:56] = -100
    image[12:52, 12:52] = 40
    image[30:34, 30:34] = 800
    return image


def test_windows_are_the_clinical_ones():
    widths = {name: (w.upper - w.lower, (w.upper + w.lower) / 2) for name, w in CT_WINDOWS.items()}
    assert widths == {
        "soft_tissue": (400, 40),
        "lung": (1500, -600),
        "bone": (1800, 400),
        "brain": (80, 40),
    }


@pytest.mark.parametrize(("lower", "upper"), [(1, 0), (np.nan, 1), (0, np.inf)])
def test_windows_that_are_none_are_refused(lower, upper):
    with pytest.raises(ValueError, match="window"):
        Window(lower, upper)


@pytest.mark.parametrize(
    ("body_part", "name"),
    [
        (None, "soft_tissue"),
        ("", "soft_tissue"),
        ("ABDOMEN", "soft_tissue"),
        ("CHEST", "soft_tissue"),
        ("HEAD", "brain"),
        ("Brain", "brain"),
        ("HEAD_NECK", "soft_tissue"),
        ("SKULL", "bone"),
        ("LUNG", "lung"),
        ("CSPINE", "bone"),
        ("EXTREMITY", "soft_tissue"),
        ("HIP", "bone"),
        ("L ARM", "soft_tissue"),
        ("WRIST", "bone"),
        ("PHARYNX", "soft_tissue"),
        ("COLLEGE", "soft_tissue"),
        ("WHOLEBODY", "soft_tissue"),
    ],
)
def test_body_part_chooses_the_ct_window(ct, body_part, name):
    assert choose_window(ct, "auto", "CT", body_part) == CT_WINDOWS[name]


def test_ct_is_recognised_by_its_values_where_nothing_is_stated(ct):
    assert looks_like_ct(ct)
    assert choose_window(ct) == CT_WINDOWS["soft_tissue"]
    assert choose_window(ct.astype(np.float32)) == CT_WINDOWS["soft_tissue"]


def test_a_stated_modality_wins_over_the_values(ct):
    assert choose_window(ct, "auto", "MR") not in CT_WINDOWS.values()
    assert choose_window(ct[20:40, 20:40], "auto", "ct ") == CT_WINDOWS["soft_tissue"]


@pytest.mark.parametrize(
    "image",
    [
        np.arange(4096, dtype=np.uint16).reshape(64, 64),  # stored values, never rescaled
        np.linspace(-3, 3, 4096).reshape(64, 64),  # z-scores
        np.full((64, 64), -1000, np.int16),  # nothing but air
        np.zeros((0, 4), np.int16),
    ],
)
def test_these_do_not_look_like_ct(image):
    assert not looks_like_ct(image)


def test_a_ct_cropped_around_soft_tissue_still_shows_its_tissue(ct):
    crop = ct[9:34, 9:34]  # fat, tissue, bone: no air
    assert not looks_like_ct(crop)
    grey = normalise_slice(crop)[:, :, 0]
    fat, tissue, bone = (int(grey[crop == value][0]) for value in (-100, 40, 800))
    assert fat + 30 < tissue < bone - 30


def test_a_ct_without_negative_numbers_is_no_hounsfield_image():
    screenshot = np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8)
    assert choose_window(screenshot, "auto", "CT") not in CT_WINDOWS.values()


def test_percentiles_cut_outliers():
    image = np.random.default_rng(0).normal(500, 50, (100, 100))
    image[0, 0] = 1e6
    window = choose_window(image, "auto", "MR")
    lower, upper = np.percentile(image, [0.5, 99.5])
    assert window.lower == pytest.approx(lower, abs=1)
    assert window.upper == pytest.approx(upper, abs=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_a_tiny_bright_object_on_black_is_seen(dtype):
    image = np.zeros((256, 256), dtype)
    image[100:103, 100:103] = np.arange(41, 50).reshape(3, 3)
    grey = normalise_slice(image, "auto", "PT")
    assert grey[0, 0, 0] == 0
    assert grey[100:103, 100:103, 0].min() > 30
    assert grey.max() == 255


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("share", [0.0001, 0.5, 0.9999])
def test_binary_images_stay_binary(dtype, share):
    image = (np.arange(10_000).reshape(100, 100) < share * 10_000).astype(dtype)
    np.testing.assert_array_equal(normalise_slice(image)[:, :, 0], image.astype(np.uint8) * 255)


def test_padding_far_below_does_not_eat_the_contrast():
    image = np.random.default_rng(0).integers(100, 1100, (64, 64)).astype(np.int16)
    image[:, :20] = -32768
    grey = normalise_slice(image, "auto", "MR")[:, :, 0]
    assert grey[:, :20].max() == 0
    assert np.ptp(grey[:, 20:]) > 190


@pytest.mark.parametrize("intensity", INTENSITIES)
@pytest.mark.parametrize("value", [0, 7, -3.5])
def test_constant_slices_never_fail_and_give_one_grey(intensity, value):
    grey = normalise_slice(np.full((5, 6), value), intensity)
    assert grey.shape == (5, 6, 3)
    assert np.ptp(grey) == 0
    if intensity in ("auto", "percentile", "minmax"):
        assert grey.max() == 0


@given(
    arrays(np.int16, (6, 7), elements=st.integers(-32768, 32767)),
    st.sampled_from(INTENSITIES),
)
def test_brighter_never_becomes_darker(image, intensity):
    grey = normalise_slice(image, intensity)[:, :, 0]
    order = np.argsort(image, axis=None, kind="stable")
    assert (np.diff(grey.ravel()[order].astype(int)) >= 0).all()


@given(
    arrays(
        np.float32,
        (5, 5),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    ),
    st.sampled_from(INTENSITIES),
)
def test_pixels_that_are_no_numbers_do_not_matter(image, intensity):
    image[0, 0] = 1.0
    grey = normalise_slice(image, intensity)
    assert grey.dtype == np.uint8
    assert not grey[np.isnan(image)].any()


def test_infinite_pixels_are_black_and_white():
    image = np.array([[-np.inf, 0.0, 100.0, np.inf]])
    np.testing.assert_array_equal(to_uint8(image, Window(0, 100)), [[0, 0, 255, 255]])


def test_to_uint8_rounds_and_clips():
    image = np.array([[-300, -160, 40, 240, 900]], np.int16)
    grey = to_uint8(image, CT_WINDOWS["soft_tissue"])
    np.testing.assert_array_equal(grey, [[0, 0, 128, 255, 255]])


@pytest.mark.parametrize(
    "image",
    [
        np.arange(100, dtype=np.uint8).reshape(10, 10),
        np.arange(100).reshape(10, 10) * 10**7 - 5,
        (np.arange(100, dtype=np.float32) * 1e-6).reshape(10, 10),
        np.array([[-32768, 32767]], np.int16),
    ],
)
def test_minmax_is_the_published_arithmetic(image):
    grey = normalise_slice(image, "minmax")[:, :, 0]
    assert grey.min() == 0
    assert grey.max() == 254
    low, high = float(image.min()), float(image.max())
    exact = (image.astype(np.float64) - low) / ((high - low) * (1 + 1e-10)) * 255
    np.testing.assert_array_equal(grey, exact.astype(np.uint8))


def test_grey_becomes_three_equal_channels(ct):
    grey = normalise_slice(ct, "bone")
    assert grey.shape == (64, 64, 3)
    np.testing.assert_array_equal(grey[..., 0], grey[..., 1])
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


def test_eight_bit_colour_is_left_alone_by_auto_only():
    image = np.random.default_rng(0).integers(50, 100, (8, 9, 3)).astype(np.uint8)
    np.testing.assert_array_equal(normalise_slice(image), image)
    assert normalise_slice(image, "percentile").max() == 255


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deep_colour_keeps_the_relation_of_its_channels(dtype):
    image = np.zeros((8, 8, 3), dtype)
    image[..., 0], image[..., 1], image[..., 2] = 4000, 2000, 1000
    image[0, 0] = 0
    red, green, blue = (int(v) for v in normalise_slice(image)[4, 4])
    assert red == 255
    assert green / red == pytest.approx(0.5, abs=0.1)
    assert blue < green


def test_errors_say_what_is_allowed():
    with pytest.raises(OptionError, match="soft_tissue"):
        choose_window(np.ones((2, 2)), "sharp")
    for image in (np.zeros((2, 2, 2, 2)), np.zeros((2, 0)), np.zeros((4, 4, 2)), np.zeros(4)):
        with pytest.raises(ImageError, match="shape"):
            normalise_slice(image)
    with pytest.raises(ImageError, match="finite"):
        normalise_slice(np.full((2, 2), np.nan))

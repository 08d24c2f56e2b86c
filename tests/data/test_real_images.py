"""Drawing real images: by source, then patient; windows; segments instead of objects."""

from __future__ import annotations

import numpy as np
import pytest

from lib.data import real_images
from lib.data.pool import LabelledImage
from lib.data.real_images import LONGEST, RealImages, source_of


def make_case(name: str, patient: str, value: float, shape: tuple[int, ...] = (64, 64)):
    image = np.zeros(shape, np.float32)
    mask = np.zeros((1, *shape[:2]), bool)
    mask[0, 20:40, 20:44] = True
    image[mask[0]] = value
    return LabelledImage(name, patient, image, mask, ("a",))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("sunny_SC-HF-I-05", "sunny"),
        ("dsb18_00071198d0", "dsb18"),
        ("sts_MR_STS_004", "sts_MR"),
        ("sts_CT_STS_004", "sts_CT"),
        ("ms_HipXRay_image054axis0midslice", "ms_HipXRay"),
        ("ms_OCTA500_10023axis0midslice", "ms_OCTA500"),
        ("axon_sub-rat1_sample-data1_SEM", "axon"),
        ("ct_msd_spleen2_k012", "ct_msd"),
        ("mine", "mine"),
        ("012", "012"),
    ],
)
def test_sources(name: str, source: str) -> None:
    assert source_of(name) == source


def test_sources_weigh_by_the_root_of_their_patients_and_patients_alike() -> None:
    one = [make_case("few_1", "p", 100)]
    series = [make_case(f"many_{n}", "q0", 200) for n in range(30)]
    others = [make_case(f"many_x{n}", f"q{n}", 200) for n in range(1, 9)]
    images = RealImages([*one, *series, *others])
    rng = np.random.default_rng(0)
    drawn = [images.case(rng).patient for _ in range(800)]
    assert drawn.count("p") / 800 == pytest.approx(1 / 4, abs=0.06)  # 1 : sqrt(9)
    assert drawn.count("q0") / 800 == pytest.approx(3 / 4 / 9, abs=0.04)


def test_windows_differ_between_draws_and_seeds_repeat() -> None:
    ramp = np.tile(np.arange(64, dtype=np.float32) * 30, (64, 1))
    case = LabelledImage("a", "a", ramp, np.ones((1, 64, 64), bool), ("a",))
    images = RealImages([case])
    first, again = (
        [images.draw(np.random.default_rng(s), 0.0)[0] for s in range(6)] for _ in range(2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({image.tobytes() for image in first}) == 6
    assert all(image.dtype == np.uint8 for image in first)


def test_segments_are_found_once_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def find(image: np.ndarray) -> np.ndarray:
        calls.append(image.shape)
        masks = np.zeros((20, *image.shape[:2]), bool)
        masks[:, 3:9, 3:9] = True
        return masks

    monkeypatch.setattr(real_images, "find_regions", find)
    images = RealImages([make_case("a", "a", 100)])
    rng = np.random.default_rng(0)
    for _ in range(5):
        image, masks = images.draw(rng, 1.0)
        assert image.shape == masks.shape[1:] == (128, 128)  # at most twice its own size
        assert 1 <= len(masks) < 20
    assert len(calls) == 1


def test_without_segments_the_objects_are_shown() -> None:
    flat = LabelledImage("a", "a", np.zeros((64, 64, 3), np.uint8), np.ones((1, 64, 64), bool), "a")
    _, masks = RealImages([flat]).draw(np.random.default_rng(0), 1.0)
    assert masks.all()


def test_large_images_are_reduced_with_their_masks() -> None:
    case = make_case("a", "a", 100, (2 * LONGEST, LONGEST))
    image, masks = RealImages([case]).draw(np.random.default_rng(0), 0.0)
    assert image.shape == (LONGEST, LONGEST // 2) == masks.shape[1:]
    assert masks[0, 10:20, 10:22].all() and masks.sum() == 10 * 12

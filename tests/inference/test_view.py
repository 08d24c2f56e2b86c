"""What the network is to see."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from lib.inference.view import SliceView, slab_of

PIXELS = np.random.default_rng(0).integers(-1000, 1000, (40, 60)).astype(np.int16)
VIEW = SliceView(PIXELS, "auto", "CT", "ABDOMEN")


def test_a_slab_is_part_of_the_name_and_so_is_the_place_in_it() -> None:
    planes = tuple(PIXELS + n for n in range(3))
    views = [replace(VIEW, pixels=planes[n], slab=planes, place=n) for n in range(3)]
    other = replace(views[0], slab=(*planes[:2], planes[2] + 1))
    alike = replace(views[0], slab=(planes[0],) * 3)
    digests = {view.digest for view in (*views, other, alike, replace(alike, place=1), VIEW)}
    assert len(digests) == 7


def test_views_of_a_slab_lead_to_each_other() -> None:
    planes = tuple(PIXELS + n for n in range(3))
    view = replace(VIEW, pixels=planes[1], slab=planes, place=1)
    found = view.together()
    assert found[1] is view and VIEW.together() == (VIEW,)
    assert [np.array_equal(other.pixels, planes[n]) for n, other in enumerate(found)] == [True] * 3
    assert found[0].together()[1].digest == view.digest


@pytest.mark.parametrize(
    ("k", "total", "depth", "slab"),
    [
        (0, 10, 4, range(0, 4)),
        (5, 10, 4, range(4, 8)),
        (9, 10, 4, range(6, 10)),
        (1, 3, 4, range(0, 3)),
        (0, 1, 4, range(0, 1)),
    ],
)
def test_slabs_follow_each_other_and_the_last_begins_earlier(
    k: int, total: int, depth: int, slab: range
) -> None:
    assert slab_of(k, total, depth) == slab


def test_equal_content_has_an_equal_name_and_nothing_else_has() -> None:
    strided = np.repeat(PIXELS, 2, axis=1)[:, ::2]
    assert SliceView(strided, "auto", "CT", "ABDOMEN").digest == VIEW.digest
    others = [
        replace(VIEW, pixels=PIXELS + 1),
        replace(VIEW, pixels=PIXELS.reshape(60, 40)),
        replace(VIEW, pixels=PIXELS.astype(np.int32)),
        replace(VIEW, intensity="bone"),
        replace(VIEW, modality="MR"),
        replace(VIEW, body_part=None),
        VIEW.cropped((0, 0, 60, 39)),
    ]
    assert len({VIEW.digest, *(other.digest for other in others)}) == 1 + len(others)


def test_a_crop_is_a_part_of_the_whole_image() -> None:
    crop = VIEW.cropped((10, 5, 30, 25))
    assert (crop.height, crop.width) == (20, 20)
    np.testing.assert_array_equal(crop.image8(), VIEW.image8()[5:25, 10:30])
    assert (VIEW.height, VIEW.width) == (40, 60)


def test_the_pixels_of_a_crop_are_not_hashed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    view = SliceView(PIXELS, "bone", "CT")
    named = view.digest
    expected = SliceView(PIXELS, "bone", "CT", crop=(10, 5, 30, 25)).digest
    with monkeypatch.context() as patched:
        patched.setattr(hashlib, "sha256", None)
        assert view.cropped((10, 5, 30, 25)).digest == expected
    assert view.digest == named


@pytest.mark.parametrize("crop", [(0, 0, 0, 5), (-1, 0, 5, 5), (0, 0, 61, 5), (5, 9, 8, 9)])
def test_a_crop_lies_on_the_image(crop: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="40 rows and 60 columns"):
        VIEW.cropped(crop)

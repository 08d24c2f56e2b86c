"""The perceptual hash."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lib.data.check.look_alikes import NEAR, look_alikes, perceptual_hash


def picture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(120, 150))
    smooth = ndimage.gaussian_filter(noise, 8)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


def distance(a: bytes, b: bytes) -> int:
    return bin(int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).count("1")


def test_another_brightness_a_little_noise_and_colour_look_alike() -> None:
    image = picture(0)
    first = perceptual_hash(image)
    for other in (
        (image * 0.7 + 30).astype(np.uint8),
        np.repeat(image[:, :, None], 3, axis=2),
        image[::2, ::2],
    ):
        assert distance(first, perceptual_hash(other)) <= 16
    assert distance(first, perceptual_hash(picture(1))) > 60


def test_an_image_of_one_value_has_nothing_to_compare() -> None:
    assert perceptual_hash(np.full((60, 60), 7, np.uint8)) is None


def test_all_near_pairs_and_no_others() -> None:
    rng = np.random.default_rng(0)
    hashes = [rng.integers(0, 256, 32).astype(np.uint8) for _ in range(60)]
    for number in range(20):
        bits = np.unpackbits(hashes[number])
        bits[rng.choice(256, rng.integers(0, 12), replace=False)] ^= 1
        hashes.append(np.packbits(bits))
    hashes = [h.tobytes() for h in hashes]
    expected = {
        (a, b)
        for a in range(80)
        for b in range(a + 1, 80)
        if distance(hashes[a], hashes[b]) <= NEAR
    }
    assert len(expected) > 5
    found = list(look_alikes(hashes))
    assert sorted(found) == sorted(expected)
    assert list(look_alikes([])) == []

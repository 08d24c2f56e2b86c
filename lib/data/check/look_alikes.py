"""Images that look alike, found by a perceptual hash without comparing each with each.

The hash (dHash) has one bit for each pair of neighbours of the image reduced to 17 x 16: which of
both is brighter. Two images look alike when few of the 256 bits differ. Such two agree in at
least one of 16 pieces of 16 bits unless 16 or more bits differ, so only images with an equal
piece are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16
BYTES = SIDE * SIDE // 8
NEAR = 6
"""Bits that may differ."""

_CROWD = 200
"""Images with one piece in common, beyond which only neighbours in order are compared."""


def perceptual_hash(pixels: NDArray[np.generic]) -> bytes | None:
    """32 bytes; None where less than one in eight neighbours differs: nothing to compare."""
    grey = pixels.mean(axis=2) if pixels.ndim == 3 else pixels
    picture = Image.fromarray(np.ascontiguousarray(grey, dtype=np.float32))
    small = np.asarray(picture.resize((SIDE + 1, SIDE), Image.Resampling.BOX)).round(1)
    if np.count_nonzero(np.diff(small, axis=1)) < SIDE * SIDE // 8:
        return None
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes()


def look_alikes(hashes: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Pairs (first, second) of numbers of hashes of which at most `NEAR` bits differ, each once."""
    if not hashes:
        return
    table = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, BYTES)
    pieces = table.view(np.uint16)
    seen: set[tuple[int, int]] = set()
    for column in pieces.T:
        order = np.argsort(column, kind="stable")
        ends = np.flatnonzero(np.diff(column[order])) + 1
        for group in np.split(order, ends):
            for pair in _near(table, group):
                if pair not in seen:
                    seen.add(pair)
                    yield pair


def _near(table: NDArray[np.uint8], group: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    for place, first in enumerate(group[:-1]):
        others = group[place + 1 : place + 1 + _CROWD]
        bits = np.unpackbits(table[others] ^ table[first], axis=1).sum(axis=1)
        for second in others[bits <= NEAR]:
            yield (int(first), int(second)) if first < second else (int(second), int(first))

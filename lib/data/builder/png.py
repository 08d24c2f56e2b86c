"""PNG files, encoded fast: equal bytes for equal pixels, and nothing in them but pixels.

Pillow's encoder takes most of the time of a build. Here every row is stored as its difference
from the row above (filter type 2), and igzip packs it; decoded, the pixels are the same.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _COLOUR = 0, 2
_UP = 2
_LEVEL = 2


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of (H, W) or (H, W, 3)."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    kind = _COLOUR if pixels.ndim == 3 else _GREY
    return _file(width, height, 8, kind, filtered)


def encode_bits(mask: NDArray[np.bool_]) -> bytes:
    """A PNG file of one bit a pixel, of (H, W)."""
    height, width = mask.shape
    packed = np.packbits(mask, axis=1)
    filtered = np.zeros((height, packed.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = packed[0]
    np.subtract(packed[1:], packed[:-1], out=filtered[1:, 1:])
    return _file(width, height, 1, _GREY, filtered)


def _file(width: int, height: int, depth: int, kind: int, rows: NDArray[np.uint8]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    # 15: a window of 32 KB with zlib's own header, as PNG asks for.
    data = isal_zlib.compress(rows.data, _LEVEL, 15)
    return b"".join(
        (_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b""))
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

"""gzip for label maps: one slice of non-zeros in a large volume of zeros.

A click in a CT of 300 slices is answered with 78 million bytes, all zero but a few thousand. Even
at its lowest level zlib spends 0.2 s on them, on every click. Deflate streams may be put together
from independent blocks that end on a byte (RFC 1951; zlib's full flush), so the block of zeros is
compressed once and repeated.

On the way in, checksums are compared (`read_to_end`).
"""

from __future__ import annotations

import struct
import zlib
from functools import cache
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

_BLOCK = 1 << 18
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
"""gzip (RFC 1952): deflate, no name, no time, fastest, unknown system."""
_END = b"\x03\x00"
"""An empty last block."""


def gzip_sparse(array: npt.NDArray[np.uint8]) -> bytes:
    """The voxels of an array, first axis fastest, as one gzip member.

    Args:
        array: uint8 of any shape; no copy is made where the first axis is contiguous in memory.
    """
    flat = np.ravel(array, order="F")
    parts, checksum = [_HEADER], 0
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        checksum = zlib.crc32(block.data, checksum)
        if block.size == _BLOCK and not block.any():
            parts.append(_zero_block())
        else:
            parts.append(_deflate(block))
    parts += [_END, struct.pack("<II", checksum, flat.size & 0xFFFFFFFF)]
    return b"".join(parts)


def read_to_end(stream: BinaryIO, at_most: int = 1 << 26) -> None:
    """Read what is left of a gzip stream, so that its checksum is compared.

    Image libraries stop after the last voxel, before the checksum, and let a flipped bit pass.

    Raises:
        EOFError, OSError, zlib.error: a truncated or damaged stream.
        ValueError: more than `at_most` bytes are left, which no image file has.
    """
    while left := len(stream.read(_BLOCK)):
        at_most -= left
        if at_most < 0:
            raise ValueError("much more data than the header announces")


def _deflate(block: npt.NDArray[np.uint8]) -> bytes:
    stream = zlib.compressobj(level=1, wbits=-zlib.MAX_WBITS)
    return stream.compress(block.data) + stream.flush(zlib.Z_FULL_FLUSH)


@cache
def _zero_block() -> bytes:
    return _deflate(np.zeros(_BLOCK, dtype=np.uint8))

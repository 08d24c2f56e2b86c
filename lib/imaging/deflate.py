"""gzip for label maps: a few slices of non-zeros in a large volume of zeros.

A click in a CT of 300 slices is answered with 78 million bytes, all zero but a few thousand.
Looking at each of them takes longer than segmenting the object, so the zeros are never made:

* Deflate streams may be put together from independent blocks that end on a byte (RFC 1951;
  zlib's full flush). Zeros are compressed once, in runs of 1, 2, 4, 8, ... bytes, and any run is
  a few of these.
* The CRC-32 of two parts follows from their checksums and the length of the second (zlib's
  crc32_combine: appending bytes is a linear map over GF(2)), so it costs nothing for zeros.

What is not zero is compressed by ISA-L, on a label map ten times as fast as zlib and smaller.

On the way in, checksums are compared (`read_to_end`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

Labels = npt.NDArray[np.uint8]

_LEVEL = 1
_PIECE = 1 << 18
_LARGEST_DEFLATED = 20
"""Runs of more than 2**20 zeros are put together from compressed ones."""
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
"""gzip (RFC 1952): deflate, no name, no time, fastest, unknown system."""
_END = b"\x03\x00"
"""An empty last block."""


@dataclass(frozen=True)
class _Part:
    """A part of a deflate stream that ends on a byte and refers to nothing before it.

    Attributes:
        deflated: compressed.
        checksum: CRC-32 of what it stands for.
        size: bytes it stands for.
    """

    deflated: bytes
    checksum: int
    size: int

    def __add__(self, other: _Part) -> _Part:
        checksum = isal_zlib.crc32_combine(self.checksum, other.checksum, other.size)
        return _Part(self.deflated + other.deflated, checksum, self.size + other.size)


def gzip_slices(slices: Mapping[int, Labels], shape: tuple[int, int, int]) -> bytes:
    """The voxels of a volume that is zero but for some slices, i fastest, as one gzip member.

    Args:
        slices: k -> (H, W) uint8 with H = J and W = I; they need not be in order.
        shape: (I, J, K) of the volume.

    Raises:
        ValueError: a slice of another size or type, or beyond the volume.
    """
    i, j, n_slices = shape
    parts, done = [], 0
    for k in sorted(slices):
        pixels = slices[k]
        if not 0 <= k < n_slices or pixels.shape != (j, i) or pixels.dtype != np.uint8:
            raise ValueError(f"slice {k}, {pixels.dtype} {pixels.shape}, for a volume {shape}")
        parts += [*_zeros((k - done) * i * j), _deflate(np.ascontiguousarray(pixels).data)]
        done = k + 1
    return _member([*parts, *_zeros((n_slices - done) * i * j)])


def read_to_end(stream: BinaryIO, at_most: int = 1 << 26) -> None:
    """Read what is left of a gzip stream, so that its checksum is compared.

    Image libraries stop after the last voxel, before the checksum, and let a flipped bit pass.

    Raises:
        EOFError, OSError, zlib.error: a truncated or damaged stream.
        ValueError: more than `at_most` bytes are left, which no image file has.
    """
    while left := len(stream.read(_PIECE)):
        at_most -= left
        if at_most < 0:
            raise ValueError("much more data than the header announces")


def _member(parts: Iterable[_Part]) -> bytes:
    checksum = size = 0
    content = [_HEADER]
    for part in parts:
        content.append(part.deflated)
        checksum = isal_zlib.crc32_combine(checksum, part.checksum, part.size)
        size += part.size
    return b"".join([*content, _END, struct.pack("<II", checksum, size & 0xFFFFFFFF)])


def _deflate(content: bytes | memoryview) -> _Part:
    stream = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, -isal_zlib.MAX_WBITS)
    deflated = stream.compress(content) + stream.flush(isal_zlib.Z_FULL_FLUSH)
    return _Part(deflated, isal_zlib.crc32(content), memoryview(content).nbytes)


def _zeros(size: int) -> list[_Part]:
    """So many zeros, the longest runs first."""
    return [_run_of_zeros(n) for n in reversed(range(size.bit_length())) if size >> n & 1]


@cache
def _run_of_zeros(exponent: int) -> _Part:
    """2**exponent zeros."""
    if exponent <= _LARGEST_DEFLATED:
        return _deflate(bytes(1 << exponent))
    return _run_of_zeros(exponent - 1) + _run_of_zeros(exponent - 1)

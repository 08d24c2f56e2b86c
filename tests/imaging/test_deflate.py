import gzip
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.imaging.deflate import gzip_sparse, read_to_end

BLOCK = 1 << 18


@given(st.integers(0, 3 * BLOCK), st.lists(st.floats(0, 1), max_size=4), st.integers(1, 255))
def test_every_reader_of_gzip_gets_the_voxels_back(size, places, value):
    array = np.zeros(size, np.uint8)
    for place in places:
        array[int(place * size) : int(place * size) + 50] = value
    assert gzip.decompress(gzip_sparse(array)) == array.tobytes()


def test_the_first_axis_runs_fastest():
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    for layout in (array, np.asfortranarray(array)):
        assert gzip.decompress(gzip_sparse(layout)) == array.tobytes(order="F")


def test_noise_survives():
    noise = np.random.default_rng(0).integers(0, 256, BLOCK + 77).astype(np.uint8)
    assert gzip.decompress(gzip_sparse(noise)) == noise.tobytes()


@pytest.mark.parametrize("blocks", [8, 64])
def test_zeros_cost_next_to_nothing(blocks):
    assert len(gzip_sparse(np.zeros(blocks * BLOCK, np.uint8))) < blocks * 2000


def test_the_checksum_is_compared_at_the_end():
    content = bytearray(gzip.compress(bytes(1000)))
    content[-6] ^= 1
    with pytest.raises(OSError, match="CRC"):
        read_to_end(gzip.GzipFile(fileobj=io.BytesIO(content)))


def test_an_endless_tail_is_not_read():
    stream = io.BytesIO(bytes(4 * BLOCK))
    with pytest.raises(ValueError, match="more data"):
        read_to_end(stream, at_most=BLOCK)
    assert stream.tell() <= 2 * BLOCK

import gzip
import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.imaging.deflate import gzip_slices, read_to_end

PIECE = 1 << 18


@st.composite
def some_slices(draw):
    """A shape, and slices of noise, of one rectangle or of nothing at some places of it."""
    shape = (draw(st.integers(1, 70)), draw(st.integers(1, 70)), draw(st.integers(1, 12)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    slices = {}
    for k in draw(st.lists(st.integers(0, shape[2] - 1), max_size=4)):
        pixels = np.zeros(shape[1::-1], np.uint8)
        kind = draw(st.sampled_from(["noise", "rectangle", "nothing"]))
        if kind == "noise":
            pixels = rng.integers(0, 256, pixels.shape).astype(np.uint8)
        elif kind == "rectangle":
            pixels[shape[1] // 3 :, : shape[0] // 2 + 1] = draw(st.integers(1, 255))
        slices[k] = pixels
    return shape, slices


def whole(slices, shape):
    """The same as an array (K, J, I) that holds every zero."""
    volume = np.zeros(shape[::-1], np.uint8)
    for k, pixels in slices.items():
        volume[k] = pixels
    return volume


@given(some_slices())
def test_every_reader_of_gzip_gets_the_voxels_back(case):
    shape, slices = case
    assert gzip.decompress(gzip_slices(slices, shape)) == whole(slices, shape).tobytes()


@pytest.mark.parametrize("filled", [[], [0], [39], [0, 39], [17, 18], [5, 30]])
def test_one_member_also_where_runs_of_zeros_are_long(filled):
    shape = (256, 301, 40)  # 3 million bytes, more than any compressed run
    slices = {k: np.full(shape[1::-1], k + 1, np.uint8) for k in filled}
    stream = zlib.decompressobj(wbits=31)
    found = stream.decompress(gzip_slices(slices, shape))
    assert found == whole(slices, shape).tobytes()
    assert stream.eof
    assert stream.unused_data == b""


def test_order_and_memory_layout_do_not_matter():
    shape = (5, 7, 4)
    pixels = np.arange(35, dtype=np.uint8).reshape(7, 5)
    packed = gzip_slices({1: pixels, 3: pixels[::-1]}, shape)
    assert gzip_slices({3: pixels[::-1].copy(), 1: np.asfortranarray(pixels)}, shape) == packed


@pytest.mark.parametrize("slices", [10, 300])
def test_zeros_cost_next_to_nothing(slices):
    shape = (512, 512, slices)
    assert len(gzip_slices({}, shape)) < slices * 300


def test_zeros_are_never_made():
    # 2**33 of them: whoever touches each does not come back in the time of a test.
    assert len(gzip_slices({}, (1 << 13, 1 << 13, 1 << 7))) < 1 << 24


@pytest.mark.parametrize(
    ("k", "pixels"),
    [
        (4, np.zeros((3, 5), np.uint8)),
        (-1, np.zeros((3, 5), np.uint8)),
        (0, np.zeros((5, 3), np.uint8)),
        (0, np.zeros((3, 5), np.int16)),
        (0, np.zeros((3, 5), bool)),
    ],
)
def test_a_slice_that_does_not_fit_is_refused(k, pixels):
    with pytest.raises(ValueError, match=rf"slice {k}, .* for a volume \(5, 3, 4\)"):
        gzip_slices({k: pixels}, (5, 3, 4))


def test_the_checksum_is_compared_at_the_end():
    content = bytearray(gzip.compress(bytes(1000)))
    content[-6] ^= 1
    with pytest.raises(OSError, match="CRC"):
        read_to_end(gzip.GzipFile(fileobj=io.BytesIO(content)))


def test_an_endless_tail_is_not_read():
    stream = io.BytesIO(bytes(4 * PIECE))
    with pytest.raises(ValueError, match="more data"):
        read_to_end(stream, at_most=PIECE)
    assert stream.tell() <= 2 * PIECE

"""Compressions and colour spaces, each against the array that was encoded."""

import io

import numpy as np
import openjpeg
import pydicom
import pytest
import SimpleITK
from PIL import Image
from pydicom.pixel_data_handlers.util import convert_color_space
from pydicom.uid import (
    JPEG2000,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from lib.errors import ImageError
from lib.imaging.dicom import read_series


@pytest.fixture
def save(tmp_path):
    def write(dataset):
        path = tmp_path / "image"
        dataset.save_as(path, write_like_original=False)
        return path

    return write


def picture():
    """Two flat colours, which survive lossy compression."""
    image = np.zeros((32, 48, 3), np.uint8)
    image[...] = (200, 40, 0)
    image[:, 24:] = (30, 90, 220)
    return image


@pytest.mark.parametrize(
    ("bits", "signed"), [(8, False), (12, False), (16, False), (12, True), (16, True)]
)
def test_jpeg_2000_lossless(save, bits, signed, build_dataset, compress):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    dtype = np.int16 if signed else np.uint8 if bits == 8 else np.uint16
    pixels = np.random.default_rng(bits).integers(low, high, (33, 47)).astype(dtype)
    frame = openjpeg.encode(pixels, bits_stored=bits, photometric_interpretation=2)
    dataset = compress(build_dataset(pixels, BitsStored=bits), JPEG2000Lossless, [frame])
    volume = read_series(save(dataset))
    np.testing.assert_array_equal(volume.slice(0), pixels)


def test_jpeg_2000_lossy_and_in_colour(save, build_dataset, compress):
    frame = openjpeg.encode(picture(), photometric_interpretation=1, compression_ratios=[4])
    dataset = build_dataset(picture(), PhotometricInterpretation="YBR_ICT")
    volume = read_series(save(compress(dataset, JPEG2000, [frame])))
    assert volume.array.shape == (48, 32, 1, 3)
    assert np.abs(volume.slice(0).astype(int) - picture()).mean() < 6


def test_jpeg_lossless(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4000, (1, 16, 20)).astype(np.uint16)
    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetFileName(str(tmp_path / "a.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.Execute(SimpleITK.GetImageFromArray(pixels))
    assert "Lossless" in pydicom.dcmread(tmp_path / "a.dcm").file_meta.TransferSyntaxUID.name
    np.testing.assert_array_equal(read_series(tmp_path / "a.dcm").slice(0), pixels[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_rle(save, dtype, build_dataset):
    pixels = np.random.default_rng(0).integers(0, 100, (2, 9, 8)).astype(dtype)
    dataset = build_dataset(pixels, NumberOfFrames=2, ImagePositionPatient=None)
    dataset.compress(RLELossless)
    np.testing.assert_array_equal(read_series(save(dataset)).array.T, pixels)


@pytest.mark.parametrize(
    ("photometric", "subsampling"), [("YBR_FULL_422", 1), ("YBR_FULL", 0), ("RGB", 0)]
)
def test_jpeg_colour_of_ultrasound(save, photometric, subsampling, build_dataset, compress):
    """Also the common mislabel: JPEG's own YCbCr, called RGB in the header."""
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "JPEG", quality=95, subsampling=subsampling)
    dataset = build_dataset(picture(), PhotometricInterpretation=photometric, Modality="US")
    volume = read_series(save(compress(dataset, JPEGBaseline8Bit, [buffer.getvalue()])))
    assert volume.is_colour
    assert np.abs(volume.slice(0).astype(int) - picture())[:, [5, 40]].max() <= 4


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_uncompressed_colour(save, planar, photometric, build_dataset):
    stored = picture()
    if photometric != "RGB":
        stored = convert_color_space(stored, "RGB", photometric)
    data = stored.transpose(2, 0, 1).tobytes() if planar else stored.tobytes()
    dataset = build_dataset(
        stored,
        PlanarConfiguration=planar,
        PhotometricInterpretation=photometric,
        PixelData=data,
        RescaleSlope=1,
        RescaleIntercept=0,
    )
    volume = read_series(save(dataset))
    assert volume.slice(0).shape == (32, 48, 3)
    assert np.abs(volume.slice(0).astype(int) - picture()).max() <= 2


def test_colour_loop(save, build_dataset):
    frames = np.random.default_rng(0).integers(0, 255, (3, 4, 5, 3)).astype(np.uint8)
    dataset = build_dataset(frames, NumberOfFrames=3, ImagePositionPatient=None)
    volume = read_series(save(dataset))
    assert volume.array.shape == (5, 4, 3, 3)
    for k in range(3):
        np.testing.assert_array_equal(volume.slice(k), frames[k])


def test_palette(save, build_dataset):
    dataset = build_dataset(
        np.array([[0, 1], [2, 0]], np.uint8), PhotometricInterpretation="PALETTE COLOR"
    )
    colours = {"Red": [0, 255, 10], "Green": [0, 128, 20], "Blue": [0, 0, 30]}
    for name, values in colours.items():
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [3, 0, 16])
        words = (np.array(values, np.uint16) * 257).tobytes()
        setattr(dataset, f"{name}PaletteColorLookupTableData", words)
    volume = read_series(save(dataset))
    np.testing.assert_array_equal(
        volume.slice(0), [[[0, 0, 0], [255, 128, 0]], [[10, 20, 30], [0, 0, 0]]]
    )


def test_monochrome1_is_shown_as_on_the_screen(save, build_dataset):
    pixels = np.array([[0, 100, 4095]], np.uint16)
    dataset = build_dataset(
        pixels, PhotometricInterpretation="MONOCHROME1", BitsStored=12, Modality="CR"
    )
    np.testing.assert_array_equal(read_series(save(dataset)).slice(0), [[4095, 3995, 0]])


def test_overlay_bits_above_the_image_are_cleared(save, build_dataset):
    pixels = np.array([[5, 4095]], np.uint16)
    dataset = build_dataset(pixels | 0xA000, BitsStored=12)
    np.testing.assert_array_equal(read_series(save(dataset)).slice(0), pixels)


def test_signed_numbers_of_fewer_bits(save, build_dataset):
    pixels = np.array([[-2048, -1, 0, 2047]], np.int16)
    dataset = build_dataset(pixels & 0x0FFF, BitsStored=12, PixelRepresentation=1)
    np.testing.assert_array_equal(read_series(save(dataset)).slice(0), pixels)


def test_bits_stored_at_the_top(save, build_dataset):
    pixels = np.array([[1, 4095]], np.uint16)
    dataset = build_dataset(pixels << 4, BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(read_series(save(dataset)).slice(0), pixels)


def test_float_pixels(save, build_dataset):
    pixels = np.array([[0.5, -1.25, np.nan]], np.float32)
    dataset = build_dataset(pixels, PixelData=None, BitsStored=None, HighBit=None)
    dataset.FloatPixelData = pixels.tobytes()
    volume = read_series(save(dataset))
    np.testing.assert_array_equal(volume.slice(0), [[0.5, -1.25, -1.25]])
    assert "NaN" in volume.warnings[0]


@pytest.mark.parametrize(
    "tags",
    [
        {"PixelData": None},
        {"PhotometricInterpretation": "HSV"},
    ],
)
def test_pixels_nobody_can_show(save, tags, build_dataset):
    with pytest.raises(ImageError, match="image, whose pixels cannot be decoded"):
        read_series(save(build_dataset(np.zeros((2, 2), np.uint16), **tags)))


def test_a_damaged_code_stream(save, build_dataset, compress):
    pixels = np.random.default_rng(0).integers(0, 4000, (32, 32)).astype(np.uint16)
    frame = openjpeg.encode(pixels, bits_stored=12, photometric_interpretation=2)
    dataset = compress(build_dataset(pixels, BitsStored=12), JPEG2000Lossless, [frame[:60]])
    with pytest.raises(ImageError, match="decoded"):
        read_series(save(dataset))

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from lib.errors import ImageError
from lib.imaging.affine import LPS_TO_RAS, compose_affine
from lib.imaging.grid import ReadLimits
from lib.imaging.picture import read_picture

LIMITS = ReadLimits()


def pixels(*shape, dtype=np.uint8, top=255):
    return np.random.default_rng(0).integers(0, top, shape).astype(dtype)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_the_grid_is_that_of_itk(tmp_path, shape):
    path = tmp_path / "a.png"
    Image.fromarray(pixels(*shape)).save(path, dpi=(254, 254))
    volume = read_picture(path, LIMITS)
    image = SimpleITK.ReadImage(str(path))
    itk = SimpleITK.GetArrayFromImage(image)
    np.testing.assert_array_equal(volume.slice(0), itk)
    assert volume.array.shape == (7, 5, 1, *shape[2:])
    spacing, origin = (*image.GetSpacing(), 1), (*image.GetOrigin(), 0)
    expected = LPS_TO_RAS @ compose_affine(spacing, origin, np.eye(3))
    np.testing.assert_array_equal(volume.affine, expected)


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 3)])
def test_jpeg(tmp_path, shape):
    flat = np.full(shape, 120, np.uint8)
    Image.fromarray(flat).save(tmp_path / "a.jpg")
    volume = read_picture(tmp_path / "a.jpg", LIMITS)
    assert volume.slice(0).shape == shape
    assert np.abs(volume.slice(0).astype(int) - 120).max() <= 2


def test_sixteen_bit_grey_keeps_its_range(tmp_path):
    deep = pixels(5, 7, dtype=np.uint16, top=65535)
    Image.fromarray(deep).save(tmp_path / "a.png")
    volume = read_picture(tmp_path / "a.png", LIMITS)
    np.testing.assert_array_equal(volume.slice(0), deep)


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 0), ("LA", 0), ("P", 3), ("RGBA", 3), ("CMYK", 3)]
)
def test_other_modes(tmp_path, mode, channels):
    name = "a.jpg" if mode == "CMYK" else "a.png"
    picture = Image.fromarray(np.full((6, 4, 3), 255, np.uint8)).convert(mode)
    picture.save(tmp_path / name)
    volume = read_picture(tmp_path / name, LIMITS)
    assert volume.array.shape == (4, 6, 1, 3) if channels else (4, 6, 1)
    assert volume.array.dtype == np.uint8
    assert volume.array.min() >= 250


def test_a_turned_photograph_keeps_the_grid_of_its_file(tmp_path):
    picture = Image.fromarray(pixels(8, 16, 3))
    exif = picture.getexif()
    exif[0x0112] = 6  # turn by 90 degrees when shown
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg", LIMITS).shape == (16, 8, 1)


def test_limits_come_before_the_pixels(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(pixels(50, 50)).save(path)
    path.write_bytes(path.read_bytes()[:60])  # the header alone
    with pytest.raises(ImageError, match="2500 voxels"):
        read_picture(path, ReadLimits(max_voxels=2499))
    with pytest.raises(ImageError, match="PNG or JPEG"):
        read_picture(path, LIMITS)


def test_other_formats_are_not_tried(tmp_path):
    Image.fromarray(pixels(5, 5)).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    for name in ("a.png", "b.png"):
        with pytest.raises(ImageError, match=name):
            read_picture(tmp_path / name, LIMITS)

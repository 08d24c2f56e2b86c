"""Pixels of one DICOM file: decoded, cleaned, as displayed.

Decoding is pydicom's (JPEG and JPEG-LS through GDCM, JPEG 2000 through OpenJPEG, RLE its own).
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_pixel_data_frame
from pydicom.pixel_data_handlers.util import apply_color_lut, convert_color_space
from pydicom.uid import JPEGBaseline8Bit

from lib.errors import ImageError
from lib.imaging.dicom_header import Plane, open_dataset, stored_range
from lib.imaging.grid import Array


def decode_frames(path: Path) -> Array:
    """All frames of a file: (F, rows, columns) stored values or (F, rows, columns, 3) RGB.

    MONOCHROME1 is inverted within the range of its stored bits, because there a larger number is
    darker: afterwards larger is brighter in every grey image, as on the screen. Bits above
    BitsStored (old overlays) are cleared, as GDCM does.

    Raises:
        ImageError: no pixels, truncated, or in a way that no decoder here can read.
    """
    try:
        dataset = open_dataset(path, header_only=False)
        if _is_colour_jpeg(dataset):
            return _decode_colour_jpeg(dataset)
        pixels = dataset.pixel_array
        shape = (-1, int(dataset.Rows), int(dataset.Columns))
        if int(dataset.get("SamplesPerPixel", 1)) == 1:
            frames = _as_displayed(pixels.reshape(shape), dataset)
        else:
            frames = _to_rgb(pixels.reshape((*shape, pixels.shape[-1])), dataset)
    except Exception as error:  # every decoder has exceptions of its own
        raise ImageError(
            got=f"{path.name}, whose pixels cannot be decoded ({error})",
            allowed="uncompressed, RLE, JPEG, JPEG-LS or JPEG 2000 pixels, complete",
            todo="fetch the file again, or convert it with dcmdjpeg or gdcmconv",
        ) from error
    return frames


def _is_colour_jpeg(dataset: Dataset) -> bool:
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    return syntax == str(JPEGBaseline8Bit) and int(dataset.get("SamplesPerPixel", 1)) == 3


def _decode_colour_jpeg(dataset: Dataset) -> Array:
    """RGB frames (F, rows, columns, 3) of baseline JPEG, by what the JPEG itself says.

    Ultrasound files are common whose header says RGB while the JPEG holds YCbCr; a JPEG names its
    own colour space, so the header is not asked.
    """
    count = int(dataset.get("NumberOfFrames", 1))
    streams = generate_pixel_data_frame(dataset.PixelData, count)
    frames = [np.asarray(Image.open(io.BytesIO(stream)).convert("RGB")) for stream in streams]
    if len(frames) != count:
        raise ValueError(f"{len(frames)} frames instead of {count}")
    shape = (count, int(dataset.Rows), int(dataset.Columns), 3)
    rgb: Array = np.stack(frames).reshape(shape)
    return rgb


def rescale(frame: Array, plane: Plane, dtype: np.dtype[np.generic]) -> Array:
    """Grey values times slope plus intercept (PS3.3 C.11.1), in `dtype`; colour is left alone."""
    if frame.ndim == 3:
        return frame
    if plane.slope == 1.0 and plane.intercept == 0.0:
        return frame.astype(dtype)
    return (frame.astype(np.float64) * plane.slope + plane.intercept).astype(dtype)


def dtype_for(planes: tuple[Plane, ...]) -> np.dtype[np.generic]:
    """Smallest whole-number type that holds every rescaled value, else float32."""
    if planes[0].samples > 1:
        return np.dtype(np.uint8)
    ends: list[int] = []
    for plane in planes:
        if plane.lowest is None or plane.highest is None:
            return np.dtype(np.float32)
        if not (plane.slope.is_integer() and plane.intercept.is_integer()):
            return np.dtype(np.float32)
        slope, intercept = int(plane.slope), int(plane.intercept)
        ends += [plane.lowest * slope + intercept, plane.highest * slope + intercept]
    for kind in (np.uint8, np.int16, np.uint16, np.int32):
        if np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.float32)


def _as_displayed(stored: Array, dataset: Dataset) -> Array:
    """Grey values (larger is brighter), or the colours of a palette."""
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2")).strip()
    if photometric == "PALETTE COLOR":
        colour = apply_color_lut(stored, dataset)
        return (colour >> 8).astype(np.uint8) if colour.dtype.itemsize > 1 else colour
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"photometric interpretation {photometric}")
    lowest, highest = stored_range(dataset)
    if lowest is None or highest is None:
        return -stored if photometric == "MONOCHROME1" else stored
    values = _stored_bits(stored, dataset)
    return (lowest + highest) - values if photometric == "MONOCHROME1" else values


def _stored_bits(stored: Array, dataset: Dataset) -> Array:
    """The BitsStored bits up to HighBit, with their sign."""
    allocated, bits = int(dataset.BitsAllocated), int(dataset.BitsStored)
    unused = int(dataset.get("HighBit", bits - 1)) + 1 - bits
    if allocated == bits or allocated == 1:
        return stored
    wide: Array = stored.astype(np.int32 if bits <= 16 else np.int64)
    values: Array = (wide >> max(unused, 0)) & ((1 << bits) - 1)
    if int(dataset.get("PixelRepresentation", 0)):
        values -= (values >> (bits - 1)) << bits
    return values


def _to_rgb(pixels: Array, dataset: Dataset) -> Array:
    """8 bit RGB; pydicom leaves YBR_FULL as it is, and turns the JPEG 2000 variants into RGB."""
    photometric = str(dataset.PhotometricInterpretation).strip()
    if photometric in ("YBR_FULL", "YBR_FULL_422"):
        pixels = convert_color_space(pixels, photometric, "RGB")
    elif photometric not in ("RGB", "YBR_RCT", "YBR_ICT"):
        raise ValueError(f"photometric interpretation {photometric}")
    surplus = max(int(dataset.BitsStored) - 8, 0)
    return np.asarray(pixels >> surplus).astype(np.uint8)

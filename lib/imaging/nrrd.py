"""NRRD files, read with SimpleITK, so that space conventions mean what they mean in Slicer.

The NRRD is written here and not by a library for one reason, speed: see `lib.imaging.deflate`.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import SimpleITK

from lib.errors import ImageError
from lib.imaging.affine import LPS_TO_RAS, Affine, check_affine, compose_affine
from lib.imaging.deflate import gzip_slices, read_to_end
from lib.imaging.grid import ReadLimits, Volume, finite_floats, reading, spatial_shape

Labels = npt.NDArray[np.uint8]

_HEADER_BYTES = 1 << 16
_SLACK = 1 << 20
_LINE_BYTES = 1000
_FIELDS = {
    b"type": re.compile(rb"[A-Za-z][A-Za-z0-9_ ]{1,30}"),
    b"dimension": re.compile(rb"[1-9]"),
    b"sizes": re.compile(rb"\d{1,10}(\s+\d{1,10}){0,8}"),
    b"encoding": re.compile(rb"raw|gz|gzip|bz2|bzip2|txt|text|ascii|hex", re.IGNORECASE),
}
"""Fields that every file has, and how they look."""
_sitk: Any = SimpleITK  # has no type annotations
_Reader: TypeAlias = Any  # SimpleITK.ImageFileReader


def read_nrrd(path: Path, limits: ReadLimits) -> Volume:
    """A 2D or 3D NRRD: array (I, J, K) or RGB (I, J, K, 3), affine RAS mm.

    Files in RAS or LAS space are turned into LPS by ITK; files in another space or without one
    count as LPS, as in ITK and Slicer.

    Raises:
        ImageError: not NRRD, damaged, a time series, detached data, or beyond the limits.
    """
    with reading(path, "NRRD"):
        header = _own_header(path)
        reader = _sitk.ImageFileReader()
        reader.SetImageIO("NrrdImageIO")
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        shape = spatial_shape(reader.GetSize(), path.name)
        limits.check(shape, path.name)
        colour = _is_colour(reader, path)
        affine = check_affine(_affine(reader), path.name)
        stored = _sitk.GetArrayFromImage(reader.Execute())
        if re.search(rb"^encoding:\s*gz", header, flags=re.IGNORECASE | re.MULTILINE):
            with path.open("rb") as file:
                file.seek(len(header))
                read_to_end(cast(BinaryIO, gzip.GzipFile(fileobj=file)), stored.nbytes + _SLACK)
    if colour:
        # ITK's (K, J, I, 3) in C order is (I, J, K, 3) with i fastest.
        return Volume(stored.reshape(*shape[::-1], 3).transpose(2, 1, 0, 3), affine)
    array, warnings = finite_floats(stored.reshape(shape[::-1]).T, path.name)
    return Volume(array, affine, warnings=warnings)


def encode_nrrd(array: Labels, affine: Affine) -> bytes:
    """A label map (I, J, K) as the bytes of a gzip NRRD, in the order x fastest.

    Args:
        array: uint8; quickest where i runs fastest in memory.
        affine: (4, 4) RAS mm; written as LPS space directions and origin with all digits.
    """
    if array.ndim != 3 or array.dtype != np.uint8:
        raise ValueError(f"uint8 (I, J, K) expected, got {array.dtype} {array.shape}")
    slices = np.asfortranarray(array).T
    shape = (array.shape[0], array.shape[1], array.shape[2])
    return encode_nrrd_slices({k: s for k, s in enumerate(slices) if s.any()}, shape, affine)


def encode_nrrd_slices(
    slices: Mapping[int, Labels], shape: tuple[int, int, int], affine: Affine
) -> bytes:
    """As `encode_nrrd`, of a label map that is zero but for some slices; costs what these cost.

    Args:
        slices: k -> (H, W) uint8 with H = J and W = I.
        shape: (I, J, K) of the label map.
        affine: as for `encode_nrrd`.

    Raises:
        ValueError: a slice of another size or type, or beyond the label map.
    """
    lps = LPS_TO_RAS @ affine
    directions = " ".join(_vector(lps[:3, axis]) for axis in range(3))
    header = [
        "NRRD0004",
        "type: unsigned char",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(n) for n in shape),
        "space directions: " + directions,
        "kinds: domain domain domain",
        "encoding: gzip",
        "space origin: " + _vector(lps[:3, 3]),
    ]
    return ("\n".join(header) + "\n\n").encode("ascii") + gzip_slices(slices, shape)


def write_nrrd(path: Path, array: Labels, affine: Affine) -> None:
    """Write `encode_nrrd` to a file."""
    path.write_bytes(encode_nrrd(array, affine))


def write_nrrd_slices(
    path: Path, slices: Mapping[int, Labels], shape: tuple[int, int, int], affine: Affine
) -> None:
    """Write `encode_nrrd_slices` to a file."""
    path.write_bytes(encode_nrrd_slices(slices, shape, affine))


def _vector(numbers: npt.NDArray[np.float64]) -> str:
    return "(" + ",".join(repr(float(number)) for number in numbers) + ")"


def _own_header(path: Path) -> bytes:
    """The header with its empty line; an error if the voxels are not behind it.

    A header may name another file of this computer as its data; none is followed.
    """
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    end = re.search(rb"\r?\n\r?\n", start)
    header = start[: end.end()] if end else start
    if not header.startswith(b"NRRD000"):
        raise ValueError("the first bytes are not those of NRRD")
    if re.search(rb"^\s*data ?file\s*:", header, flags=re.IGNORECASE | re.MULTILINE):
        raise ImageError(
            got=f"{path.name}, a header whose voxels are in another file",
            allowed="NRRD files that hold their own voxels (.nrrd)",
            todo="save the image as one .nrrd file",
        )
    _check_fields(header)
    return header


def _check_fields(header: bytes) -> None:
    """Refuse what the reader below, which is native code, must not see.

    Its buffers for a word of a header are of a fixed size, and it ends the process on some headers
    that no program writes.
    """
    if len(header) >= _HEADER_BYTES:
        raise ValueError("the header does not end")
    fields: dict[bytes, bytes] = {}
    for line in header.splitlines():
        if len(line) > _LINE_BYTES or b"\0" in line:
            raise ValueError("a line of the header is too long or no text")
        name, colon, value = line.partition(b":")
        if colon and not line.startswith(b"#") and not value.startswith(b"="):
            fields[name.strip().lower()] = value.strip()
    for name, form in _FIELDS.items():
        if not form.fullmatch(fields.get(name, b"")):
            raise ValueError(f"the field {name.decode()!r} is missing or not what it can be")
    if len(fields[b"sizes"].split()) != int(fields[b"dimension"]):
        raise ValueError("sizes and dimension do not agree")


def _is_colour(reader: _Reader, path: Path) -> bool:
    components, pixel_id = reader.GetNumberOfComponents(), reader.GetPixelID()
    if components == 1 and pixel_id not in (_sitk.sitkComplexFloat32, _sitk.sitkComplexFloat64):
        return False
    if components == 3 and pixel_id == _sitk.sitkVectorUInt8:
        return True
    raise ImageError(
        got=f"{path.name} with {components} numbers of type "
        f"{_sitk.GetPixelIDValueAsString(pixel_id)} in each voxel",
        allowed="one number, or red, green and blue in 8 bit",
        todo="export one channel as a 3D image",
    )


def _affine(reader: _Reader) -> Affine:
    """RAS affine of an image of 2, 3 or more dimensions (axes beyond the third are dropped)."""
    dimension = reader.GetDimension()
    used = min(dimension, 3)
    spacing, origin, direction = np.ones(3), np.zeros(3), np.eye(3)
    spacing[:used] = reader.GetSpacing()[:used]
    origin[:used] = reader.GetOrigin()[:used]
    matrix = np.reshape(reader.GetDirection(), (dimension, dimension))
    direction[:used, :used] = matrix[:used, :used]
    return LPS_TO_RAS @ compose_affine(spacing, origin, direction)

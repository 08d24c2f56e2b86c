"""A DICOM series as one NIfTI file, the way the host makes it, but never half of one.

`monailabel.datastore.utils.convert.dicom_to_nifti` (0.8.5) writes to the system's temporary folder
and trusts ITK, which says nothing when a disk is full while it compresses, and later reads such a
file without a word, with zeros for what is missing.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import pydicom
import SimpleITK

from lib.errors import ImageError, UnavailableError
from lib.imaging.grid import ReadLimits, reading

_PIECE = 1 << 22
_sitk: Any = SimpleITK  # its annotations are partial


def write_series(folder: Path, target: Path, limits: ReadLimits) -> None:
    """Write the image of a folder with one DICOM series.

    Args:
        folder: of the files.
        target: a name that ends in .nii.gz.
        limits: how large the image may be, checked on the header.

    Raises:
        ImageError: the files make no image, or one beyond the limits.
        UnavailableError: the disk does not take it.
    """
    try:
        image = _read(folder, limits)
    except RuntimeError as error:
        raise ImageError(
            got=f"series {folder.name}, whose files make no image ({_last_line(error)})",
            allowed="the image files of one series",
            todo="open another series of the study",
        ) from error
    try:
        _sitk.WriteImage(image, str(target))
        _check_whole(target)
    except (RuntimeError, OSError, EOFError, zlib.error) as error:
        target.unlink(missing_ok=True)
        raise UnavailableError(
            got=f"no room for the image of series {folder.name} ({_last_line(error)})",
            allowed="a disk for the cache that takes it",
            todo="make room there and try again",
        ) from error


def _read(folder: Path, limits: ReadLimits) -> Any:
    files = sorted(str(path) for path in folder.iterdir())
    if len(files) > 1:
        files = list(_sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    reader = _sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(files[0] if files else "")
    reader.ReadImageInformation()
    columns, rows, *frames = reader.GetSize()
    limits.check((columns, rows, math.prod(frames) * len(files)), f"series {folder.name}")
    for file in files:
        _check_pixels(Path(file))
    if len(files) == 1:
        return reader.Execute()
    series = _sitk.ImageSeriesReader()
    series.SetFileNames(files)
    return series.Execute()


def _check_pixels(path: Path) -> None:
    """See that uncompressed pixels are all there: ITK takes what it finds, without a word.

    Raises:
        ImageError: they are not.
    """
    with reading(path, "DICOM"):
        dataset = pydicom.dcmread(path, force=True)
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        if "PixelData" not in dataset or (syntax is not None and syntax.is_compressed):
            return
        names = ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsAllocated")
        bits = math.prod(int(dataset.get(name) or 1) for name in names)
        if str(dataset.get("PhotometricInterpretation")) == "YBR_FULL_422":
            bits = bits * 2 // 3
        found = len(dataset.PixelData)
        if found * 8 < bits:
            raise ValueError(f"{found} of {-(-bits // 8)} bytes of pixels")


def _check_whole(path: Path) -> None:
    """Unpack all of it, to the checksum at its end."""
    with gzip.open(path) as file:
        while file.read(_PIECE):
            pass


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]

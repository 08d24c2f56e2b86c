"""One function that reads every image format of this project into a `Volume`.

Formats: NIfTI (.nii, .nii.gz), NRRD (.nrrd), pictures (.png, .jpg, .jpeg), DICOM (one file with
any name, or a folder with one series). The voxel order is the file's own; nothing is reoriented.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lib.errors import ImageError, NotFoundError
from lib.imaging.dicom import read_series
from lib.imaging.grid import ReadLimits, Volume
from lib.imaging.intensity import looks_like_ct
from lib.imaging.nifti import read_nifti
from lib.imaging.nrrd import read_nrrd
from lib.imaging.picture import read_picture

__all__ = ["ReadLimits", "Volume", "read_volume"]

_READERS: dict[str, Callable[[Path, ReadLimits], Volume]] = {
    ".nii": read_nifti,
    ".nii.gz": read_nifti,
    ".nrrd": read_nrrd,
    ".png": read_picture,
    ".jpg": read_picture,
    ".jpeg": read_picture,
    ".dcm": read_series,
}


def read_volume(
    path: Path, limits: ReadLimits | None = None, series_uid: str | None = None
) -> Volume:
    """The image of a file, or of a folder with one DICOM series.

    Args:
        path: file or folder.
        limits: how large an image may be, checked on the header; defaults apply where None.
        series_uid: which DICOM series of a folder to read where there are several.

    Returns:
        The volume in the file's own voxel grid. NaN and infinite voxels are the smallest finite
        value of the image. Where the format states no modality, an image whose values look like
        Hounsfield units is marked "CT", so that all its slices are shown alike.

    Raises:
        NotFoundError: no such file or folder.
        ImageError: an unknown or damaged file, a time series, or an image beyond the limits.
    """
    path, limits = Path(path), limits or ReadLimits()
    if not path.exists():
        raise NotFoundError(
            got=f"{path.name}, which does not exist",
            allowed="an image file, or a folder with the files of one DICOM series",
            todo="check the name",
        )
    read = _READERS.get(_suffix(path))
    if path.is_dir() or read is read_series or (read is None and _has_dicom_mark(path)):
        return read_series(path, limits, series_uid)
    if read is None:
        raise ImageError(
            got=f"{path.name}, whose kind is unknown",
            allowed="DICOM, or a name that ends in " + ", ".join(_READERS),
            todo="rename or convert the file",
        )
    volume = read(path, limits)
    return replace(volume, modality="CT") if looks_like_ct(volume.array) else volume


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def _has_dicom_mark(path: Path) -> bool:
    """Whether the letters DICM follow a preamble of 128 bytes (PS3.10, 7.1)."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"

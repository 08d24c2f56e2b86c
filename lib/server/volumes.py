"""Image files as volumes, read once and kept while memory allows.

The host reads the file again for every click. Here a volume stays in memory, keyed by path, size
and time of change, up to a number of bytes.

Images of a PACS come as NIfTI files, which do not say what was scanned. The host keeps the DICOM
files they were made from in a folder of the same name beside them; Modality and BodyPartExamined
are taken from there.

Concurrency contract: `ByteBoundedCache` has its own lock. ``_lock`` is held while a file is read,
so two clicks on one image read it once, and two large images are not decoded at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from dataclasses import replace
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from lib.errors import NotFoundError
from lib.imaging.volume import ReadLimits, Volume, read_volume
from lib.inference.cache import ByteBoundedCache

NIFTI = (".nii.gz", ".nii")
_ELEMENTS = ["Modality", "BodyPartExamined"]


class VolumeStore:
    """Volumes by path, at most ``max_bytes`` of them in memory.

    Args:
        max_bytes: for all volumes together; a larger one is read for every click.
        limits: what is refused before any pixel is decoded.
    """

    def __init__(self, max_bytes: int, limits: ReadLimits) -> None:
        self._limits = limits
        self._volumes: ByteBoundedCache[Volume] = ByteBoundedCache(max_bytes)
        self._lock = threading.Lock()

    def get(self, path: Path) -> Volume:
        """The volume of an image file, or of a folder with one DICOM series.

        Raises:
            NotFoundError: no such file.
            ImageError: the file cannot be read.
        """
        key = _state(path)
        volume = self._volumes.get(key)
        if volume is not None:
            return volume
        with self._lock:
            volume = self._volumes.get(key)
            if volume is None:
                volume = _with_dicom_facts(read_volume(path, self._limits), path)
                self._volumes.put(key, volume, volume.array.nbytes)
        return volume


def _state(path: Path) -> Hashable:
    """What changes when a file, or a file of a folder, is replaced."""
    files = _files(path) if path.is_dir() else iter((path,))
    try:
        return str(path), tuple((f.name, *_size_and_time(f)) for f in files)
    except FileNotFoundError as error:
        raise NotFoundError(
            got=f"image {path.name!r}, whose file is gone",
            allowed="images that exist",
            todo="reload the list of images",
        ) from error


def _size_and_time(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_file())


def _with_dicom_facts(volume: Volume, path: Path) -> Volume:
    """Add Modality and body part from the DICOM folder beside a NIfTI file, where there is one."""
    suffix = next((s for s in NIFTI if path.name.endswith(s)), None)
    folder = path.with_name(path.name.removesuffix(suffix)) if suffix else None
    if folder is None or not folder.is_dir():
        return volume
    for file in _files(folder):
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_ELEMENTS)
        except (InvalidDicomError, OSError):
            continue
        modality = str(header.get("Modality") or "").strip() or volume.modality
        body_part = str(header.get("BodyPartExamined") or "").strip() or volume.body_part
        return replace(volume, modality=modality, body_part=body_part)
    return volume

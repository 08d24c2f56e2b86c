"""Images that clients send, and series that a PACS sends, decoded in children of this process.

Concurrency contract: see `lib.imaging.trial`; the server has two processes of it, so that a client
that sends an image does not wait for series of the PACS.
"""

from __future__ import annotations

import atexit
from pathlib import Path

from lib.imaging.grid import ReadLimits
from lib.imaging.trial import Trial

_SENT, _DOWNLOADED = Trial(), Trial()
atexit.register(_SENT.close)
atexit.register(_DOWNLOADED.close)


def check_image(path: Path, max_voxels: int) -> None:
    """See that an image that a client sent can be read.

    Args:
        path: file, or folder with one DICOM series.
        max_voxels: largest that is taken.

    Raises:
        ImageError: it cannot.
    """
    _SENT.read(path, ReadLimits(max_voxels=max_voxels))


def check_series(folder: Path, limits: ReadLimits) -> None:
    """See that a series of a PACS can be read; as `check_image`."""
    _DOWNLOADED.read(folder, limits)


def convert_series(folder: Path, target: Path, limits: ReadLimits) -> None:
    """Have a series of a PACS written as a NIfTI file.

    Args:
        folder: of its files.
        target: a name that ends in .nii.gz.
        limits: how large the image may be.

    Raises:
        ImageError: the files make no image.
        UnavailableError: the disk does not take it.
    """
    _DOWNLOADED.convert(folder, target, limits)


def expect_series() -> None:
    """Start what reads series, so that the first one need not wait for it."""
    _DOWNLOADED.prepare()

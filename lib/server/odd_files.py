"""Images that clients send, tried in a child before the server reads them or keeps them.

Concurrency contract: see `lib.imaging.trial`; one process of it for the server.
"""

from __future__ import annotations

import atexit
from pathlib import Path

from lib.imaging.grid import ReadLimits
from lib.imaging.trial import Trial

_TRIAL = Trial()
atexit.register(_TRIAL.close)


def check_image(path: Path, max_voxels: int) -> None:
    """See that an image can be read.

    Args:
        path: file, or folder with one DICOM series.
        max_voxels: largest that is taken.

    Raises:
        ImageError: it cannot.
    """
    _TRIAL.read(path, ReadLimits(max_voxels=max_voxels))

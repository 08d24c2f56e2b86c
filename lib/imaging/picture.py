"""2D pictures: PNG and JPEG, read with pillow.

The grid is the one ITK gives such a file: i = column, j = row, 1 mm pixels in LPS, whatever
resolution or EXIF rotation the file states. In RAS that is diag(-1, -1, 1).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lib.imaging.affine import LPS_TO_RAS
from lib.imaging.grid import Array, ReadLimits, Volume, finite_floats, reading

_FORMATS = ("PNG", "JPEG", "MPO")
"""MPO is what many phones write into a .jpg; its first picture is read."""
_GREY_MODES = {"1": "L", "L": "L", "LA": "L", "I": "I", "I;16": "I;16", "I;16B": "I;16", "F": "F"}


def read_picture(path: Path, limits: ReadLimits) -> Volume:
    """Grey pictures as (I, J, 1), all others as RGB (I, J, 1, 3) uint8; transparency is dropped.

    Raises:
        ImageError: not PNG or JPEG, damaged, or beyond the limits.
    """
    with reading(path, "PNG or JPEG"), Image.open(path, formats=_FORMATS) as picture:
        limits.check((*picture.size, 1), path.name)
        mode = _GREY_MODES.get(picture.mode, "RGB")
        # (W, H[, 3]) with x fastest: the transpose of pillow's (H, W[, 3]).
        pixels: Array = np.asarray(picture if picture.mode == mode else picture.convert(mode))
        pixels = np.swapaxes(pixels, 0, 1)[:, :, None]
        array, warnings = finite_floats(pixels, path.name)
    return Volume(array, LPS_TO_RAS.copy(), warnings=warnings)

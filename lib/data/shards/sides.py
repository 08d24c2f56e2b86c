"""The sides of the split of a folder in the format of SA-Med2D-20M."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lib.data.builder.outputs import TRAIN
from lib.data.sa_med2d import BY_MASK
from lib.errors import ImageError

SIDES = ("all", "train", "test")


def images_of_side(folder: Path, side: str) -> frozenset[str] | None:
    """File names of the images of a side; None: of all that there are.

    Args:
        folder: the data set.
        side: of `SIDES`. A folder without the list of that side is not split: all.

    Raises:
        ImageError: a list that cannot be read.
    """
    path = folder / (TRAIN if side == "train" else BY_MASK)
    if side == "all" or not path.is_file():
        return None
    content = read_object(path)
    images = content if side == "train" else content.values()
    return frozenset(str(image).rpartition("/")[2] for image in images)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is no file.

    Raises:
        ImageError: it cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ImageError(f"{path.name}, which cannot be read ({error})", "JSON") from error

"""Folders in the form of SA-Med2D-20M: pictures in ``images/``, one object each in ``masks/``.

Names say what is in a file (Ye et al. 2023, arXiv:2311.11969):
``{modality}--{dataset}--{case}--{slice}.png`` and for its masks
``{name of the image}--{class}_{instance}.png``. Which masks belong to an image is read from
``SAMed2D_v1.json`` ({image: [masks]}), or from ``label2image_test.json`` ({mask: image}), with
which SAM-Med2D's own test script works, and where there is neither from the names of the masks.
Folders in front of the names in these files are passed over.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.errors import ImageError
from lib.imaging.volume import read_volume

IMAGES, MASKS = "images", "masks"
BY_IMAGE, BY_MASK = "SAMed2D_v1.json", "label2image_test.json"
SEPARATOR = "--"
PARTS = 4


@dataclass(frozen=True)
class NameFacts:
    """What the name of an image says.

    Attributes:
        modality: "ct_00", "mr_t1", "x_ray"; empty where the name is another.
        patient: data set and case; the whole name where it is another.
    """

    modality: str
    patient: str


def name_facts(stem: str) -> NameFacts:
    """Read the name of an image, without its ending."""
    parts = stem.split(SEPARATOR)
    if len(parts) < PARTS:
        return NameFacts("", stem)
    return NameFacts(parts[0], SEPARATOR.join(parts[1:3]))


def class_of(mask: str, image: str) -> str:
    """The class that the name of a mask says, both names without ending: "0011"."""
    return mask.removeprefix(image + SEPARATOR).rsplit("_", 1)[0]


def is_sa_med2d(folder: Path) -> bool:
    """Whether a folder has this form."""
    return (folder / IMAGES).is_dir() and (folder / MASKS).is_dir()


def masks_by_image(folder: Path) -> Mapping[Path, tuple[Path, ...]]:
    """The files with masks of every image, in the order of their names.

    Raises:
        ImageError: a list of files that is none.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for image, mask in _pairs(folder):
        found[image].append(mask)
    return {
        folder / IMAGES / image: tuple(folder / MASKS / name for name in sorted(found[image]))
        for image in sorted(found)
    }


def read_image(path: Path) -> NDArray[np.generic]:
    """A picture (H, W) or, in colour, (H, W, 3); one with three equal channels is grey.

    Raises:
        ImageError, NotFoundError: there is no picture that can be read.
    """
    pixels = np.swapaxes(read_volume(path).array[:, :, 0], 0, 1)
    if pixels.ndim == 3 and (pixels == pixels[:, :, :1]).all():
        pixels = pixels[:, :, 0]
    return np.ascontiguousarray(pixels)


def read_mask(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask (H, W); every value but 0 belongs to the object.

    Args:
        path: of the picture.
        shape: (H, W) of its image.

    Raises:
        ImageError: another shape than the image's, as some masks of SA-Med2D-20M have, or empty.
        NotFoundError: no such file.
    """
    mask = read_image(path)
    mask = mask if mask.ndim == 2 else mask.max(axis=2)
    if mask.shape != shape:
        raise ImageError(
            got=f"mask {path.name} of shape {mask.shape}",
            allowed=f"that of its image, {shape}",
            todo="leave it out",
        )
    if not mask.any():
        raise ImageError(got=f"mask {path.name}, which is empty", allowed="one object")
    return np.asarray(mask != 0)


def _pairs(folder: Path) -> list[tuple[str, str]]:
    """File names of an image and one of its masks."""
    for name in (BY_IMAGE, BY_MASK):
        path = folder / name
        if path.is_file():
            return _listed(path, by_mask=name == BY_MASK)
    masks = sorted(path.name for path in (folder / MASKS).glob("*.png"))
    return [(f"{mask.rsplit(SEPARATOR, 1)[0]}.png", mask) for mask in masks]


def _listed(path: Path, by_mask: bool) -> list[tuple[str, str]]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        pairs = [
            (value, key) if by_mask else (key, mask)
            for key, value in content.items()
            for mask in ([value] if by_mask else value)
        ]
        return [(PurePosixPath(image).name, PurePosixPath(mask).name) for image, mask in pairs]
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        form = "{mask: image}" if by_mask else "{image: [masks]}"
        raise ImageError(
            got=f"{path} which cannot be read ({error})", allowed=form, todo="write it again"
        ) from error

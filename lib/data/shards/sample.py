"""One image with all its masks, as it lies in a shard.

Three members, in the layout of WebDataset (equal names up to the first point):
``000000012.png`` is the image as it was; ``000000012.masks.png`` has one bit a pixel and all masks
below one another, so that one decoding gives them all; ``000000012.json`` says what is what.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib.data.builder.png import encode_bits
from lib.data.pool import LabelledImage
from lib.data.sa_med2d import class_of, name_facts, read_mask
from lib.errors import ImageError, Samed2dError

IMAGE, MASKS, FACTS = "png", "masks.png", "json"
DIGITS = 9


@dataclass(frozen=True)
class Stored:
    """The three members of a sample.

    Attributes:
        number: its name.
        image: PNG.
        masks: PNG.
        facts: JSON.
    """

    number: int
    image: bytes
    masks: bytes
    facts: bytes

    def members(self) -> tuple[tuple[str, bytes], ...]:
        """Names and contents."""
        stem = f"{self.number:0{DIGITS}d}"
        return (
            (f"{stem}.{IMAGE}", self.image),
            (f"{stem}.{MASKS}", self.masks),
            (f"{stem}.{FACTS}", self.facts),
        )


def store(
    number: int, image: Path, masks: Sequence[Path], patients: Mapping[str, str]
) -> tuple[Stored, tuple[str, ...]]:
    """Pack an image and its masks.

    Args:
        number: of the sample.
        image: PNG file.
        masks: PNG files; those that cannot be used are left out.
        patients: data set and case -> patient.

    Returns:
        The sample, and what was left out and why.

    Raises:
        ImageError: the image cannot be read, or not one of its masks.
        NotFoundError: there is no such image.
    """
    data = read_bytes(image)
    shape = decode_image(data, image.name).shape[:2]
    read, names, left_out = [], [], []
    for path in masks:
        try:
            read.append(read_mask(path, shape))
            names.append(path.name)
        except Samed2dError as error:
            left_out.append(error.got)
    if not read:
        raise ImageError(got=f"{image.name} without a usable mask", allowed="at least one")
    key = name_facts(image.stem)
    facts: dict[str, Any] = {
        "image": image.name,
        "masks": names,
        "height": shape[0],
        "width": shape[1],
        "modality": key.modality,
        "patient": patients.get(key.patient, key.patient),
    }
    text = json.dumps(facts, sort_keys=True).encode()
    return Stored(number, data, encode_bits(np.concatenate(read)), text), tuple(left_out)


def read_bytes(path: Path) -> bytes:
    """A file.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(
            f"{path.name}, which cannot be read ({error.strerror})", "a PNG"
        ) from error


def load(members: Mapping[str, bytes]) -> LabelledImage:
    """Decode a sample: its image once, and all its masks at once.

    Args:
        members: ending of the name -> contents.

    Raises:
        ImageError: damaged.
    """
    try:
        facts = json.loads(members[FACTS])
        name, names = str(facts["image"]), [str(mask) for mask in facts["masks"]]
        height, width = int(facts["height"]), int(facts["width"])
        modality, patient = str(facts["modality"]), str(facts["patient"])
        image = decode_image(members[IMAGE], name)
        rows = _decode(members[MASKS])
        masks = rows.reshape(len(names), height, width) != 0
    except (KeyError, ValueError, TypeError, OSError, SyntaxError) as error:
        raise ImageError(f"a damaged sample ({error})", "a shard as it was packed") from error
    stem = name.removesuffix(".png")
    labels = tuple(class_of(mask.removesuffix(".png"), stem) for mask in names)
    return LabelledImage(stem, patient, image, masks, labels, modality or None)


def decode_image(data: bytes, name: str) -> NDArray[np.generic]:
    """(H, W), or (H, W, 3) in colour; three equal channels are grey.

    Raises:
        ImageError: no PNG, or a damaged one.
    """
    try:
        pixels = _decode(data)
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"{name}, which cannot be read ({error})", "a PNG") from error
    if pixels.ndim == 3:
        first = pixels[..., 0]
        if np.array_equal(first, pixels[..., 1]) and np.array_equal(first, pixels[..., 2]):
            return np.ascontiguousarray(first)
    return pixels


def _decode(data: bytes) -> NDArray[np.generic]:
    with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
        if picture.mode in ("P", "RGBA"):
            return np.asarray(picture.convert("RGB"))
        return np.asarray(picture.convert("L") if picture.mode == "LA" else picture)

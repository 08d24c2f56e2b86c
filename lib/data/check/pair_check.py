"""One image and its masks: everything that can be seen without looking at other images."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib.data.builder.naming import MODALITIES, is_word
from lib.data.builder.outputs import CLASSES
from lib.data.check.findings import Finding
from lib.data.check.look_alikes import perceptual_hash
from lib.data.pool import MIN_AREA_SHARE
from lib.data.sa_med2d import IMAGES, MASKS, SEPARATOR, class_of
from lib.prompts.components import component_areas

MOST = 0.5
"""Share of the image, and of its rim, from which a mask counts as one of the background."""

_PLACE = re.compile(r"[xyz]_\d{4,}|2d_none")
_CLASS = re.compile(r"\d{4}")
_INSTANCE = re.compile(r"_\d{3,}$")


@dataclass(frozen=True, eq=False)
class Checked:
    """What was found of an image with its masks.

    Attributes:
        image: its name.
        masks: how many could be read.
        findings: flaws.
        pixels: hash of the pixels; empty where they cannot be read.
        look: perceptual hash, see `look_alikes`; None for an image without anything to see.
    """

    image: str
    masks: int
    findings: tuple[Finding, ...]
    pixels: str = ""
    look: bytes | None = None


def check_pair(folder: Path, image: str, masks: Sequence[str], classes: Classes) -> Checked:
    """Look at an image and its masks; raises nothing because of what is in them.

    Args:
        folder: with images/ and masks/.
        image: file name.
        masks: file names.
        classes: those that the mapping lists.
    """
    found = list(_name_flaws(image, masks, classes))
    pixels, why = _read(folder / IMAGES / image)
    if pixels is None:
        return Checked(image, 0, (*found, Finding(why, f"{IMAGES}/{image}")))
    if pixels.size and np.unique(pixels).size <= 2:
        found.append(Finding("binary", f"{IMAGES}/{image}"))
    read: list[tuple[str, NDArray[np.bool_]]] = []
    for name in masks:
        values, why = _read(folder / MASKS / name)
        if values is None:
            found.append(Finding(why, f"{MASKS}/{name}"))
            continue
        mask = values.max(axis=2) if values.ndim == 3 else values
        found += _mask_flaws(mask, pixels.shape[:2], f"{MASKS}/{name}")
        if mask.shape == pixels.shape[:2]:
            read.append((name, mask != 0))
    found += _together(read)
    digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    return Checked(image, len(read), tuple(found), digest, perceptual_hash(pixels))


def _read(path: Path) -> tuple[NDArray[np.generic] | None, str]:
    """Pixels, or the kind of flaw."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            indexed = picture.mode in ("P", "1")
            pixels = np.asarray(picture.convert("RGB" if picture.mode == "P" else "L"))
            return (pixels if indexed else np.asarray(picture)), ""
    except FileNotFoundError:
        return None, "missing"
    except Exception:  # Pillow raises many kinds on damaged files, down to SyntaxError
        return None, "broken"


def _mask_flaws(mask: NDArray[np.generic], shape: tuple[int, ...], file: str) -> Iterator[Finding]:
    if mask.shape != shape:
        yield Finding("shape", file, f"{mask.shape} for {shape}")
    if not mask.any():
        yield Finding("empty", file)
        return
    values = np.flatnonzero(np.bincount(mask.ravel().astype(np.uint16)))
    if not set(values.tolist()) <= {0, 255}:
        yield Finding("values", file, str(values[:4].tolist()))
    inside = mask != 0
    rim = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    if inside.mean() > MOST and rim.mean() > MOST:
        yield Finding("inverted", file, f"{inside.mean():.0%} of the image")
    parts = len(component_areas(inside)[1])
    if parts > 1:
        yield Finding("multi_component", file, f"{parts} parts")
    if np.count_nonzero(inside) < MIN_AREA_SHARE * inside.size:
        yield Finding("too_small", file, f"{np.count_nonzero(inside)} pixels")


def _together(masks: Sequence[tuple[str, NDArray[np.bool_]]]) -> Iterator[Finding]:
    """Masks that are equal or overlap."""
    if len(masks) < 2:
        return
    cover = np.zeros(masks[0][1].shape, np.uint16)
    for _, mask in masks:
        cover += mask
    if cover.max() < 2:
        return
    crossing = [(name, mask) for name, mask in masks if (cover[mask] > 1).any()]
    for number, (name, mask) in enumerate(crossing):
        for other, second in crossing[number + 1 :]:
            if np.array_equal(mask, second):
                yield Finding("same_mask", f"{MASKS}/{name}", other)
            elif (mask & second).any():
                yield Finding("overlap", f"{MASKS}/{name}", other)


@dataclass(frozen=True)
class Classes:
    """What the mapping lists: {data set: ids}; None where there is no mapping."""

    of: Mapping[str, frozenset[str]] | None = None

    @classmethod
    def read(cls, folder: Path) -> Classes:
        """Those of a folder; a flat mapping counts for every data set.

        Raises:
            ValueError: a mapping that cannot be read.
        """
        path = folder / CLASSES
        if not path.is_file():
            return cls()
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no object")
        if all(isinstance(value, str) for value in content.values()):
            return cls({"": frozenset(content.values())})
        return cls({name: frozenset(dict(ids).values()) for name, ids in content.items()})

    def lists(self, dataset: str, class_id: str) -> bool:
        """Whether a class is listed."""
        if self.of is None:
            return True
        return class_id in self.of.get(dataset, self.of.get("", frozenset()))


def _name_flaws(image: str, masks: Sequence[str], classes: Classes) -> Iterator[Finding]:
    stem = image.removesuffix(".png")
    parts = stem.split(SEPARATOR)
    good = len(parts) == 4 and all(parts) and bool(_PLACE.fullmatch(parts[3]))
    if not good or not image.endswith(".png"):
        yield Finding("name", f"{IMAGES}/{image}")
    if parts[0] not in MODALITIES:
        yield Finding("modality", f"{IMAGES}/{image}", parts[0] if is_word(parts[0]) else "")
    for name in masks:
        mask = name.removesuffix(".png")
        class_id = class_of(mask, stem)
        if not mask.startswith(stem + SEPARATOR) or not _INSTANCE.search(mask):
            yield Finding("name", f"{MASKS}/{name}")
        elif not _CLASS.fullmatch(class_id):
            yield Finding("name", f"{MASKS}/{name}", "class without four digits")
        elif len(parts) == 4 and not classes.lists(parts[1], class_id):
            yield Finding("class", f"{MASKS}/{name}", class_id)

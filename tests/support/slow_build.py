"""The rules of a build once more, slowly and by other libraries; shares no code with lib.

nibabel turns the volume, scikit-image finds components, Pillow writes.
"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image
from skimage.measure import label as components_of


def write_pictures(
    image: Path,
    labels: Path,
    out: Path,
    prefix: str,
    classes: dict[int, str],
    by_slice: bool = False,
) -> dict[str, list[str]]:
    """Write all pictures of a NIfTI pair into images/ and masks/ of a folder.

    Args:
        image: the volume.
        labels: on its grid.
        out: the folder.
        prefix: modality, data set and case.
        classes: value -> four digits.
        by_slice: stretch each slice by itself.

    Returns:
        What belongs into SAMed2D_v1.json.
    """
    values = _left_back_up(image).astype(float)
    marks = _left_back_up(labels)
    pairs = {}
    for axis in range(3):
        for index in range(values.shape[axis]):
            place = f"{'xyz'[axis]}_{index:04d}"
            grey = np.moveaxis(values, axis, 0)[index].transpose()
            mark = np.moveaxis(marks, axis, 0)[index].transpose()
            whole = grey if by_slice else values
            found = _write(grey, mark, whole, out, f"{prefix}--{place}", classes)
            if found:
                pairs[f"images/{prefix}--{place}.png"] = sorted(found)
    return pairs


def write_lists(out: Path, pairs: dict[str, list[str]]) -> None:
    """Write SAMed2D_v1.json."""
    lines = [f" {json.dumps(key)}: {json.dumps(pairs[key])}" for key in sorted(pairs)]
    (out / "SAMed2D_v1.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _left_back_up(path: Path) -> np.ndarray:
    turned = nibabel.as_closest_canonical(nibabel.load(path))
    return np.asarray(turned.dataobj)[::-1, ::-1, :]


def _write(
    grey: np.ndarray,
    mark: np.ndarray,
    whole: np.ndarray,
    out: Path,
    name: str,
    classes: dict[int, str],
) -> list[str]:
    height, width = grey.shape
    if min(height, width) < max(height, width) / 2:
        return []
    found = []
    for value, class_id in sorted(classes.items()):
        parts = components_of(mark == value, connectivity=2)
        kept = [n for n in range(1, parts.max() + 1) if (parts == n).mean() >= 0.00153]
        for instance, number in enumerate(kept):
            file = f"masks/{name}--{class_id}_{instance:03d}.png"
            Image.fromarray(np.where(parts == number, 255, 0).astype(np.uint8)).save(out / file)
            found.append(file)
    if found:
        scaled = (grey - whole.min()) / (whole.max() - whole.min() + 1e-8) * 255
        channels = [Image.fromarray(scaled.astype(np.uint8))] * 3
        Image.merge("RGB", channels).save(out / "images" / f"{name}.png")
    return found

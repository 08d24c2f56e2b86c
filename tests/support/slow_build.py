"""The rules of a build once more, slowly and by other libraries; shares no code with lib.

nibabel turns the volume, scikit-image finds components, Pillow writes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
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


def write_lists(
    out: Path,
    pairs: dict[str, list[str]],
    patients: dict[str, str],
    salt: str,
    mapping: dict[str, dict[str, str]],
) -> None:
    """Write all lists of files, split by patient with the usual share and seed.

    Args:
        out: the folder.
        pairs: of all cases, see `write_pictures`.
        patients: data set and case, as in names -> data set and patient, joined by ":".
        salt: of the archive.
        mapping: {data set: {class: four digits}}.
    """
    hashes = {case: _hash(salt, patient) for case, patient in patients.items()}
    numbers = {name: int(_hash("split 0", name), 16) / 2**64 for name in hashes.values()}
    ordered = sorted(numbers, key=lambda name: numbers[name])
    tests = [name for name in ordered if numbers[name] < 0.2] or ordered[:1]
    tests = tests[:-1] if len(tests) == len(ordered) else tests
    train, test = {}, {}
    for image in sorted(pairs):
        if hashes["--".join(image.split("--")[1:3])] in tests:
            test |= dict.fromkeys(pairs[image], image)
        else:
            train[image] = pairs[image]
    ordered_pairs = {image: pairs[image] for image in sorted(pairs)}
    _write_lines(out / "SAMed2D_v1.json", ordered_pairs)
    _write_lines(out / "image2label_train.json", train)
    _write_lines(out / "label2image_test.json", test)
    _write_json(out / "SAMed2D_v1_class_mapping_id.json", mapping)
    _write_json(out / "patients.json", {case: hashes[case] for case in sorted(hashes)})
    _write_json(out / "split.json", {"by": "patient", "share": 0.2, "seed": 0})


def _hash(salt: str, text: str) -> str:
    return hashlib.sha256(f"{salt}:{text}".encode()).hexdigest()[:16]


def _write_lines(path: Path, content: Mapping[str, object]) -> None:
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1))


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
    found: list[str] = []
    for value, class_id in sorted(classes.items()):
        parts = components_of(mark == value, connectivity=2)
        kept = [n for n in range(1, parts.max() + 1) if (parts == n).mean() >= 0.00153]
        for number in kept:
            # Two values of one class stay apart, and count on.
            instance = sum(f"--{class_id}_" in earlier for earlier in found)
            file = f"masks/{name}--{class_id}_{instance:03d}.png"
            Image.fromarray(np.where(parts == number, 255, 0).astype(np.uint8)).save(out / file)
            found.append(file)
    if found:
        scaled = (grey - whole.min()) / (whole.max() - whole.min() + 1e-8) * 255
        channels = [Image.fromarray(scaled.astype(np.uint8))] * 3
        Image.merge("RGB", channels).save(out / "images" / f"{name}.png")
    return found

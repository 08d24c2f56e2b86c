"""A whole folder: each image with its masks, then what only shows among several.

Each image is looked at by one of several processes; at most a few hundred are under way.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lib.data.builder.outputs import PATIENTS, TRAIN
from lib.data.check.findings import NOTES, Finding
from lib.data.check.look_alikes import look_alikes
from lib.data.check.pair_check import Checked, Classes, check_pair
from lib.data.sa_med2d import (
    BY_IMAGE,
    BY_MASK,
    IMAGES,
    MASKS,
    is_sa_med2d,
    masks_by_image,
    name_facts,
)
from lib.data.workers import in_rounds
from lib.errors import ImageError, NotFoundError

CHUNK = 64


@dataclass(frozen=True)
class CheckReport:
    """What is in a folder, and what is wrong with it.

    Attributes:
        images: number of them.
        masks: number of masks that could be read.
        findings: sorted.
    """

    images: int
    masks: int
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Kind -> how often."""
        return dict(sorted(Counter(finding.kind for finding in self.findings).items()))

    @property
    def is_good(self) -> bool:
        """Whether nothing was found but what occurs in good data too."""
        return all(finding.kind in NOTES for finding in self.findings)


def check_folder(folder: Path, workers: int, progress: Callable[[int, int], None]) -> CheckReport:
    """Check a folder in the format of SA-Med2D-20M.

    Args:
        folder: with images/ and masks/.
        workers: processes; 1 works in this one.
        progress: told how many images are done, and how many there are.

    Raises:
        NotFoundError: no such folder, or of another form.
    """
    if not is_sa_med2d(folder):
        raise NotFoundError(f"{folder}", "a folder with images/ and masks/", "correct the path")
    found: list[Finding] = []
    try:
        pairs = {image.name: tuple(m.name for m in ms) for image, ms in _pairs(folder, found)}
        classes = Classes.read(folder)
    except (ValueError, TypeError, AttributeError) as error:
        found.append(Finding("list", "SAMed2D_v1_class_mapping_id.json", str(error)))
        classes = Classes()
    found += _unlisted(folder, pairs)
    checked = []
    for result in _run(folder, pairs, classes, workers):
        found += result.findings
        checked.append(result)
        progress(len(checked), len(pairs))
    sides = _sides(folder, found)
    found += _twice(checked, sides, _patients(folder, found))
    return CheckReport(len(pairs), sum(c.masks for c in checked), tuple(sorted(found)))


def _pairs(folder: Path, found: list[Finding]) -> list[tuple[Path, tuple[Path, ...]]]:
    try:
        return list(masks_by_image(folder).items())
    except ImageError as error:
        found.append(Finding("list", BY_IMAGE, error.got))
        return [(path, ()) for path in sorted((folder / IMAGES).glob("*.png"))]


def _unlisted(folder: Path, pairs: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    masks = {mask for names in pairs.values() for mask in names}
    for kind, known in ((IMAGES, pairs), (MASKS, masks)):
        for path in sorted((folder / kind).iterdir()):
            if path.name not in known:
                yield Finding("unlisted", f"{kind}/{path.name}")


def _run(
    folder: Path, pairs: Mapping[str, tuple[str, ...]], classes: Classes, workers: int
) -> Iterator[Checked]:
    work = partial(_check_chunk, folder, classes)
    for results in in_rounds(work, _chunks(list(pairs.items())), workers):
        yield from results


Pair = tuple[str, tuple[str, ...]]


def _chunks(pairs: list[Pair]) -> list[list[Pair]]:
    return [pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK)]


def _check_chunk(folder: Path, classes: Classes, chunk: list[Pair]) -> list[Checked]:
    return [check_pair(folder, image, masks, classes) for image, masks in chunk]


def _sides(folder: Path, found: list[Finding]) -> dict[str, str]:
    """Image -> "train" or "test", of those that the lists of the split name."""
    sides = {}
    train = _read_list(folder / TRAIN, found)
    sides.update({Path(image).name: "train" for image in train})
    for image in _read_list(folder / BY_MASK, found).values():
        name = Path(str(image)).name
        if sides.get(name) == "train":
            found.append(Finding("leakage", f"{IMAGES}/{name}", "the image is on both sides"))
        sides[name] = "test"
    return sides


def _patients(folder: Path, found: list[Finding]) -> dict[str, str]:
    return {key: str(value) for key, value in _read_list(folder / PATIENTS, found).items()}


def _read_list(path: Path, found: list[Finding]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return dict(content)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        found.append(Finding("list", path.name, str(error)))
        return {}


def _twice(
    checked: Sequence[Checked], sides: Mapping[str, str], patients: Mapping[str, str]
) -> Iterator[Finding]:
    """Equal images, look-alikes of several cases, and what is on both sides of the split."""
    first: dict[str, str] = {}
    for result in checked:
        other = first.setdefault(result.pixels, result.image) if result.pixels else result.image
        if other != result.image:
            yield Finding("duplicate", f"{IMAGES}/{result.image}", other)
            yield from _across(result.image, other, sides)
    seen = [c for c in checked if c.look is not None and first[c.pixels] == c.image]
    for a, b in look_alikes([c.look for c in seen if c.look is not None]):
        one, two = seen[a].image, seen[b].image
        # Neighbours in a volume look alike by nature.
        if _case(one) != _case(two):
            yield Finding("look_alike", f"{IMAGES}/{two}", one)
            yield from _across(two, one, sides)
    yield from _patients_across(sides, patients)


def _across(image: str, other: str, sides: Mapping[str, str]) -> Iterator[Finding]:
    if {sides.get(image), sides.get(other)} == {"train", "test"}:
        yield Finding("leakage", f"{IMAGES}/{image}", f"looks like {other} on the other side")


def _patients_across(sides: Mapping[str, str], patients: Mapping[str, str]) -> Iterator[Finding]:
    of_patient: dict[str, dict[str, str]] = defaultdict(dict)
    for image, side in sorted(sides.items()):
        case = _case(image)
        of_patient[patients.get(case, case)].setdefault(side, image)
    for where in of_patient.values():
        if len(where) > 1:
            detail = f"same patient as {where['train']} on the other side"
            yield Finding("leakage", f"{IMAGES}/{where['test']}", detail)


def _case(image: str) -> str:
    return name_facts(image.removesuffix(".png")).patient

"""The lists of files of a built data set, from the records of its cases.

Written case by case in a fixed order, so that twenty million masks need no memory, and the same
cases give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from lib.data.builder.folder import BuildFolder, CaseRecord, write_whole
from lib.data.builder.naming import salted
from lib.data.sa_med2d import BY_IMAGE, BY_MASK, IMAGES, MASKS

CLASSES = "SAMed2D_v1_class_mapping_id.json"
TRAIN = "image2label_train.json"
PATIENTS = "patients.json"
SPLIT = "split.json"
SPLITS = ("patient", "image")


@dataclass(frozen=True)
class SplitRule:
    """Which images are for tests.

    Attributes:
        by: "patient", or "image" as in the paper, which puts slices of one patient on both sides.
        share: of patients or images, 0..1.
        seed: another one gives another split.
    """

    by: str = "patient"
    share: float = 0.2
    seed: int = 0

    def draws(self, name: str) -> float:
        """A number from 0 to 1 that depends on the name and the seed alone."""
        return int(salted(name, f"split {self.seed}"), 16) / 16**16


@dataclass(frozen=True)
class Totals:
    """What is in the lists."""

    cases: int
    images: int
    masks: int
    train_images: int
    test_images: int


def write_lists(
    folder: BuildFolder,
    keys: Sequence[str],
    ids: Mapping[str, Mapping[str, str]],
    rule: SplitRule,
) -> Totals:
    """Write all lists of files of the cases that are done.

    Args:
        folder: with the records.
        keys: of the cases, in any order.
        ids: {data set: {class: four digits}}.
        rule: for the split.
    """

    def records() -> Iterator[CaseRecord]:
        for key in sorted(keys):
            record = folder.record(key)
            if record is not None:
                yield record

    side = _sides(records(), rule)
    counted = _write_pairs(folder, records(), side)
    patients = {r.key: r.patient for r in records()}
    for name, content in (
        (CLASSES, {name: dict(classes) for name, classes in ids.items()}),
        (PATIENTS, patients),
        (SPLIT, {"by": rule.by, "share": rule.share, "seed": rule.seed}),
    ):
        data = json.dumps(content, indent=1, sort_keys=name == PATIENTS).encode()
        write_whole(folder.path / name, data, folder.private / name)
    return Totals(len(patients), *counted)


def _sides(records: Iterable[CaseRecord], rule: SplitRule) -> Callable[[str, str], bool]:
    """Whether an image (its name, its patient) is for tests."""
    if rule.by == "image":
        return lambda image, patient: rule.draws(image) < rule.share
    drawn = sorted((rule.draws(patient), patient) for patient in {r.patient for r in records})
    tests = {patient for number, patient in drawn if number < rule.share}
    if drawn and rule.share > 0:
        # Where patients are few neither side stays empty; one alone is to learn from.
        tests = tests or {drawn[0][1]}
        tests -= {drawn[-1][1]} if len(tests) == len(drawn) else set()
    return lambda image, patient: patient in tests


def _write_pairs(
    folder: BuildFolder, records: Iterable[CaseRecord], is_test: Callable[[str, str], bool]
) -> tuple[int, int, int, int]:
    """Numbers of images, masks, images for training and images for tests."""
    counts = [0, 0, 0, 0]
    names = (BY_IMAGE, TRAIN, BY_MASK)
    with ExitStack() as stack:
        every, train, test = (
            stack.enter_context(_JsonObject(folder.private / name)) for name in names
        )
        for record in records:
            for image in sorted(record.images):
                path = f"{IMAGES}/{image}"
                masks = [f"{MASKS}/{mask}" for mask in sorted(record.images[image])]
                every.add(path, masks)
                tests = is_test(image, record.patient)
                counts[3 if tests else 2] += 1
                counts[0] += 1
                counts[1] += len(masks)
                if tests:
                    for mask in masks:
                        test.add(mask, path)
                else:
                    train.add(path, masks)
    for name in names:
        (folder.private / name).replace(folder.path / name)
    return counts[0], counts[1], counts[2], counts[3]


class _JsonObject:
    """A JSON object that is written entry by entry, one a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first = True

    def __enter__(self) -> _JsonObject:
        self._file: TextIO = self._path.open("w", encoding="utf-8")
        self._file.write("{")
        return self

    def add(self, key: str, value: object) -> None:
        """Write one entry."""
        self._file.write(f"{'' if self._first else ','}\n {json.dumps(key)}: {json.dumps(value)}")
        self._first = False

    def __exit__(self, *_: object) -> None:
        self._file.write("\n}\n")
        self._file.close()

"""The files of a folder with labelled 2D images, read one after the other.

| what lies in the folder | a case is | its masks |
|---|---|---|
| ``images/`` and ``masks/`` | a picture, see `lib.data.sa_med2d` | as they are |
| ``*.npz`` | a file, see `lib.data.pool` | as they are, less empty ones |
| ``NAME_image.nii.gz`` and ``NAME_label.nii.gz`` | a slice of the volume | parts of each label |
| ``imagesTr/`` and ``labelsTr/`` (nnU-Net, Medical Segmentation Decathlon) | the same | the same |
| ``images/`` and ``labels/`` with NIfTI files of equal names | the same | the same |

``.nii`` does as well as ``.nii.gz``; nnU-Net's ``NAME_0000`` is the image of label ``NAME``. A
table ``manifest.csv`` names modality and patient (`lib.data.case_table`). Nothing is held in
memory, so a folder may be larger than it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from lib.data.case_table import FILE, NOTHING, CaseFacts, read_case_table
from lib.data.pool import LabelledImage, read_npz, read_pair
from lib.data.sa_med2d import (
    class_of,
    is_sa_med2d,
    masks_by_image,
    name_facts,
    read_image,
    read_mask,
)
from lib.errors import ImageError, Samed2dError

UNKNOWN = "unknown"
NIFTI = (".nii.gz", ".nii")
PAIRED_FOLDERS = (("imagesTr", "labelsTr"), ("images", "labels"))
FIRST_CHANNEL = "_0000"


@dataclass(frozen=True)
class Case:
    """A labelled image of an evaluation.

    Attributes:
        image: pixels and masks.
        modality: in the words of the data, "unknown" where they say nothing. Only for tables:
            what the network is told is ``image.modality``.
    """

    image: LabelledImage
    modality: str


@dataclass(frozen=True)
class LeftOut:
    """Something that could not be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class CaseFile:
    """One file, or pair of files, with its cases.

    Attributes:
        name: path of the file in the folder.
        paths: all files that are read.
        read: the cases, in a fixed order.
    """

    name: str
    paths: tuple[Path, ...]
    read: Callable[[], Iterator[Case | LeftOut]]

    def cases(self) -> Iterator[Case | LeftOut]:
        """All cases; what is wrong with the file comes as `LeftOut` and raises nothing."""
        try:
            yield from self.read()
        except Samed2dError as error:
            yield LeftOut(self.name, error.got)


def find_case_files(folder: Path) -> tuple[CaseFile, ...]:
    """All files with cases, in the order of their names.

    Raises:
        ImageError: the folder holds none, or a list of files in it is damaged.
    """
    facts = read_case_table(folder)
    if is_sa_med2d(folder):
        found = [
            CaseFile(_name(image, folder), (image, *masks), partial(_read_pictures, image, masks))
            for image, masks in masks_by_image(folder).items()
        ]
    else:
        found = [
            CaseFile(path.name, (path,), partial(_read_npz, path, facts))
            for path in sorted(folder.glob("*.npz"))
        ]
        found += [
            CaseFile(
                _name(image, folder), (image, label), partial(_read_pair, image, label, case, facts)
            )
            for case, image, label in _nifti_pairs(folder)
        ]
    if not found:
        raise ImageError(
            got=f"no labelled image in {folder}",
            allowed=".npz files; NIfTI pairs NAME_image.nii.gz and NAME_label.nii.gz, or equal "
            "names in imagesTr and labelsTr, or in images and labels; pictures in images and masks",
            todo="correct the folder",
        )
    return tuple(found)


def files_digest(files: tuple[CaseFile, ...], folder: Path) -> str:
    """SHA-256 in hexadecimal of names, sizes and times of all files: changes where one changes."""
    digest = hashlib.sha256()
    table = folder / FILE
    for path in (*(path for file in files for path in file.paths), table):
        if path.is_file():
            known = path.stat()
            digest.update(f"{path.name}\0{known.st_size}\0{known.st_mtime_ns}\n".encode())
        elif path != table:
            digest.update(f"{path.name}\0missing\n".encode())
    return digest.hexdigest()


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _read_npz(path: Path, facts: Mapping[str, CaseFacts]) -> Iterator[Case]:
    yield _with_facts(read_npz(path, whole=True), facts.get(path.stem, NOTHING))


def _read_pair(
    image: Path, label: Path, case: str, facts: Mapping[str, CaseFacts]
) -> Iterator[Case]:
    for labelled in read_pair(image, label, case):
        yield _with_facts(labelled, facts.get(case, NOTHING))


def _with_facts(image: LabelledImage, facts: CaseFacts) -> Case:
    named = replace(image, patient=facts.patient or image.patient)
    return Case(named, facts.modality or image.modality or UNKNOWN)


def _read_pictures(path: Path, masks: tuple[Path, ...]) -> Iterator[Case | LeftOut]:
    pixels = read_image(path)
    facts = name_facts(path.stem)
    read, names = [], []
    for mask in masks:
        try:
            read.append(read_mask(mask, pixels.shape[:2]))
            names.append(class_of(mask.stem, path.stem))
        except Samed2dError as error:
            yield LeftOut(mask.name, error.got)
    if read:
        labelled = LabelledImage(path.stem, facts.patient, pixels, np.stack(read), tuple(names))
        yield Case(labelled, facts.modality or UNKNOWN)


def _nifti_pairs(folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """Case, image and label map of every pair."""
    for ending in NIFTI:
        for label in sorted(folder.glob(f"*_label{ending}")):
            case = label.name.removesuffix(f"_label{ending}")
            yield case, folder / f"{case}_image{ending}", label
    for images, labels in PAIRED_FOLDERS:
        for ending in NIFTI:
            for label in sorted((folder / labels).glob(f"[!.]*{ending}")):
                case = label.name.removesuffix(ending)
                yield case, _image_of(folder / images, case, ending), label


def _image_of(folder: Path, case: str, ending: str) -> Path:
    channel = folder / f"{case}{FIRST_CHANNEL}{ending}"
    return channel if channel.is_file() else folder / f"{case}{ending}"

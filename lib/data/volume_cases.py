"""Labelled volumes of a folder, for measuring how an object is carried through them.

Two forms, which may be mixed:

* pairs ``NAME_image.nii.gz`` / ``NAME_label.nii.gz`` in the folder;
* a table ``cases.csv`` in it with the columns ``image,label`` and, if wanted, ``case,value,name``:
  paths relative to the folder (an image may be a folder with a DICOM series), the name of the case,
  one value of the label map, and what it is called. Without a value all of them are taken.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel.processing import resample_from_to
from numpy.typing import NDArray

from lib.data.pool import MIN_AREA_SHARE
from lib.errors import ImageError
from lib.imaging.segmentation import read_label
from lib.imaging.volume import Volume, read_volume


@dataclass(frozen=True)
class CaseFiles:
    """An image, its label map, and which values of it: value -> name, None for all."""

    case: str
    image: Path
    label: Path
    names: dict[int, str] | None = None


@dataclass(frozen=True)
class LabelledObject:
    """One object of a volume.

    Attributes:
        name: of the object, or its value in the label map.
        target: (K, H, W) bool, slice by slice.
    """

    name: str
    target: NDArray[np.bool_]


def find_cases(folder: Path) -> list[CaseFiles]:
    """All cases of a folder, by name.

    Raises:
        ImageError: it holds none, or a table that cannot be used.
    """
    found = [
        CaseFiles(
            label.name.removesuffix("_label.nii.gz"),
            label.with_name(label.name.replace("_label.", "_image.")),
            label,
        )
        for label in sorted(folder.glob("*_label.nii.gz"))
    ]
    table = folder / "cases.csv"
    if table.is_file():
        found += _read_table(table)
    if not found:
        raise ImageError(
            got=f"no labelled volume in {folder}",
            allowed="pairs NAME_image.nii.gz and NAME_label.nii.gz, or cases.csv",
            todo="correct the folder",
        )
    return sorted(found, key=lambda case: case.case)


def _read_table(path: Path) -> Iterator[CaseFiles]:
    rows: dict[tuple[str, str, str], dict[int, str] | None] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            image, label, value = row.get("image"), row.get("label"), row.get("value") or ""
            if not image or not label or not (value == "" or value.isdecimal()):
                raise ImageError(
                    got=f"{path.name} with the row {row}",
                    allowed="columns image,label and, if wanted, case,value,name",
                    todo="correct it",
                )
            key = (row.get("case") or Path(image).name.split(".")[0], image, label)
            known = rows.get(key) or {}
            rows[key] = {**known, int(value): row.get("name") or value} if value else None
    for (case, image, label), names in rows.items():
        yield CaseFiles(case, path.parent / image, path.parent / label, names)


def read_case(files: CaseFiles) -> tuple[Volume, NDArray[np.uint8]]:
    """The image, and its label map (I, J, K) on the grid of the image (nearest neighbour).

    Raises:
        ImageError: a file that cannot be read.
        NotFoundError: one that does not exist.
    """
    volume = read_volume(files.image)
    labels, affine = read_label(files.label)
    if labels.shape != volume.shape or not np.allclose(affine, volume.affine, atol=1e-2):
        image = nibabel.nifti1.Nifti1Image(labels, affine)  # type: ignore[no-untyped-call]
        grid = (volume.shape, volume.affine)
        moved = resample_from_to(image, grid, order=0)  # type: ignore[no-untyped-call]
        labels = np.asarray(moved.dataobj).astype(np.uint8)
    return volume, labels


def objects_of(
    files: CaseFiles, labels: NDArray[np.uint8], min_voxels: int, min_slices: int
) -> Iterator[LabelledObject]:
    """The objects that are large enough to be clicked on.

    Args:
        files: says which values count.
        labels: (I, J, K).
        min_voxels: in all.
        min_slices: with the object.

    On its largest slice an object must have the area from which SAM-Med2D takes objects at all
    (`lib.data.pool`).
    """
    names = {int(v): str(v) for v in np.unique(labels) if v} if files.names is None else files.names
    for value, name in names.items():
        target = np.ascontiguousarray((labels == value).transpose(2, 1, 0))
        areas = target.sum(axis=(1, 2))
        if areas.sum() < min_voxels or np.count_nonzero(areas) < min_slices:
            continue
        if areas.max() >= MIN_AREA_SHARE * target[0].size:
            yield LabelledObject(name, target)

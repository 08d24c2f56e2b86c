"""A case in memory: grey values and label maps, from whatever kind of files it lies in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage, SegmentationStorage

from lib.data.builder.case_task import CaseTask
from lib.data.builder.description import HEADER, WITH_HEADER
from lib.data.builder.naming import salted
from lib.data.builder.rtstruct import read_rtstruct
from lib.data.builder.slicing import Labels, Layer, to_lps
from lib.data.pool import read_npz
from lib.errors import ImageError, NotFoundError
from lib.imaging.dicom_seg import read_seg
from lib.imaging.grid import Volume, reading
from lib.imaging.label_grid import nearest_on_grid
from lib.imaging.volume import read_volume

OFTEN_BURNED_IN = ("US", "ES", "XC", "OT", "SC", "XA", "RF", "IVUS")
"""Modalities of DICOM whose images often show the name of the patient."""

OFTEN_BURNED_IN_HERE = ("ultrasound_00", "endoscopy_00")
"""The same in the words of SA-Med2D-20M, for files that have no header to ask."""
LOOK = "images of this kind often have text burned in: look for names"
_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".png", ".jpg", ".jpeg")


@dataclass(frozen=True, eq=False)
class ReadCase:
    """What is needed of a case.

    Attributes:
        array: (I, J, K) or, of a flat case, (H, W[, 3]).
        layers: label maps on that grid.
        flat: whether it is one 2D image.
        patient: salted hash.
        warnings: sentences without names.
    """

    array: NDArray[np.generic]
    layers: tuple[Layer, ...]
    flat: bool
    patient: str
    warnings: tuple[str, ...]


def read_case(task: CaseTask) -> ReadCase:
    """Read all files of a case.

    Raises:
        ImageError, NotFoundError: a file that is missing, damaged or on another grid, or a label
            that the description does not list.
    """
    if task.source.kind == "npz":
        return _read_npz(task)
    volume = read_volume(_needed(task.image))
    layers, warnings = [], [*task.warnings, *volume.warnings]
    if not task.labels:
        raise NotFoundError("no file with labels", "at least one", "correct 'labels'")
    for path, label in task.labels.items():
        for values, names, texts in _read_labels(_needed(path), label, volume):
            layers.append(Layer(values, _ids(task, values, names)))
            warnings += texts
    patient = task.patient
    if task.source.kind in WITH_HEADER:
        header = _first_header(_needed(task.image))
        warnings += _burned_in(header)
        if task.source.patient == HEADER:
            patient = salted(_patient_id(header), task.salt)
    else:
        warnings += _burned_in_here(task)
    if task.source.kind == "picture":
        return _flat(volume, layers, patient, warnings)
    return _upright(task, volume, layers, patient, warnings)


def _flat(volume: Volume, layers: list[Layer], patient: str, warnings: list[str]) -> ReadCase:
    flat = tuple(Layer(layer.labels[:, :, 0].T, layer.ids) for layer in layers)
    pixels = volume.slice(0)
    return ReadCase(pixels, flat, True, patient, tuple(warnings))


def _upright(
    task: CaseTask, volume: Volume, layers: list[Layer], patient: str, warnings: list[str]
) -> ReadCase:
    array = volume.array
    if task.source.orientation == "lps":
        array = to_lps(array, volume.affine)
        layers = [
            Layer(np.asarray(to_lps(layer.labels, volume.affine)), layer.ids) for layer in layers
        ]
    return ReadCase(array, tuple(layers), False, patient, tuple(warnings))


def _read_npz(task: CaseTask) -> ReadCase:
    case = read_npz(_needed(task.image), whole=True)
    layers = []
    for mask, label in zip(case.masks, case.labels, strict=True):
        layers.append(Layer(mask.astype(np.uint8), _ids(task, mask, {1: label})))
    return ReadCase(case.image, tuple(layers), True, task.patient, tuple(_burned_in_here(task)))


Found = tuple[Labels, Mapping[int, str], tuple[str, ...]]


def _read_labels(path: Path, label: str, volume: Volume) -> Iterator[Found]:
    """Label maps on the grid of the image, names of their values, warnings."""
    if path.name.lower().endswith(_ENDINGS):
        values = _label_map(path, volume)
        if label:
            values = (values != 0).astype(np.uint8)
        yield values, {1: label} if label else {}, ()
        return
    with reading(path, "DICOM"):
        kind = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    if kind.get("SOPClassUID") == SegmentationStorage:
        seg = read_seg(path, volume.affine, volume.shape)
        yield seg.labels, seg.names, seg.warnings
    elif kind.get("SOPClassUID") == RTStructureSetStorage:
        for labels, names in read_rtstruct(path, volume.affine, volume.shape):
            yield labels, names, ()
    else:
        raise ImageError(f"{path.name}", "a label map, a DICOM SEG or an RTSTRUCT")


def _label_map(path: Path, volume: Volume) -> Labels:
    """Whole numbers on the image's grid; by nearest neighbour where the file has another one."""
    read = read_volume(path)
    array = read.array
    if array.ndim == 4 and (array == array[..., :1]).all():
        array = array[..., 0]
    if array.ndim != 3 or array.min() < 0 or array.max() >= 1 << 16:
        raise ImageError(f"{path.name}", "a label map: whole numbers from 0 to 65535")
    values = array.astype(np.uint16 if array.max() > 255 else np.uint8)
    if array.dtype.kind == "f" and not np.array_equal(values, array):
        raise ImageError(f"{path.name} with fractions", "a label map: whole numbers")
    same = np.allclose(read.affine, volume.affine, atol=1e-2)
    if values.shape == volume.shape and (same or volume.n_slices == 1):
        return values
    moved = nearest_on_grid(values, read.affine, volume.affine, volume.shape)
    if values.any() and not moved.any():
        raise ImageError(f"{path.name} beside its image", "labels on the image")
    return moved


def _ids(task: CaseTask, values: NDArray[np.generic], names: Mapping[int, str]) -> dict[int, str]:
    """Value -> class id of all that occur; the description lists names, or values as text."""
    found = {}
    classes = task.source.classes
    for value in _values(values):
        label = names.get(value, str(value))
        if label not in classes:
            raise ImageError(
                got=f"label {label!r}",
                allowed="those that 'classes' lists",
                todo="list it, with null to pass it over",
            )
        name = classes[label]
        if name is not None:
            found[value] = task.ids[name]
    return found


def _values(labels: NDArray[np.generic]) -> list[int]:
    """All values but 0, in order; slice by slice, because counting needs 8 bytes a voxel."""
    found: set[int] = set()
    for index in range(labels.shape[-1]):
        found.update(np.flatnonzero(np.bincount(labels[..., index].ravel(order="K"))).tolist())
    return sorted(found - {0})


def _needed(path: Path) -> Path:
    if not path.exists():
        name = f"{path.name}, which does not exist"
        raise NotFoundError(got=name, allowed="an image and its labels", todo="complete the case")
    return path


def _first_header(path: Path) -> Dataset:
    """Of the first DICOM file, what decides on the patient and on burned-in text."""
    tags = ["PatientID", "BurnedInAnnotation", "Modality"]
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            try:
                return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(tags))
            except (OSError, ValueError, pydicom.errors.InvalidDicomError):
                continue
    return Dataset()


def _patient_id(header: Dataset) -> str:
    text = str(header.get("PatientID") or "").strip()
    if not text:
        raise ImageError("a series without PatientID", "one that names its patient")
    return text


def _burned_in(header: Dataset) -> list[str]:
    stated = str(header.get("BurnedInAnnotation") or "").strip().upper()
    modality = str(header.get("Modality") or "").strip().upper()
    if stated == "YES":
        return ["text is burned into the pixels, as the header says: look for names"]
    return [LOOK] if stated != "NO" and modality in OFTEN_BURNED_IN else []


def _burned_in_here(task: CaseTask) -> list[str]:
    return [LOOK] if task.source.modality in OFTEN_BURNED_IN_HERE else []

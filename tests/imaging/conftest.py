"""Small DICOM files, written on the spot with the quirks a test asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

# No deadline: a busy machine is no bug. The same examples on every run, none kept on disk.
hypothesis.settings.register_profile(
    "imaging",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("imaging")

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
SERIES = "1.2.826.0.1.3680043.8.498.1"


def _build_dataset(pixels: np.ndarray, **tags: Any) -> FileDataset:
    """A CT slice around stored `pixels`; a tag given as None is left out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = tags.get("SOPClassUID", CT_STORAGE)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    colour = pixels.ndim > 2 and pixels.shape[-1] == 3
    rows, columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    bits = pixels.dtype.itemsize * 8
    values: dict[str, Any] = {
        "SOPClassUID": CT_STORAGE,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "SeriesInstanceUID": SERIES,
        "StudyInstanceUID": SERIES + ".1",
        "Modality": "CT",
        "InstanceNumber": 1,
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": 3 if colour else 1,
        "PlanarConfiguration": 0 if colour else None,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [0, 0, 0],
        "PixelSpacing": [0.5, 0.75],
        "SliceThickness": 2,
        "PixelData": pixels.tobytes(),
    } | tags
    values.setdefault("HighBit", (values["BitsStored"] or 0) - 1)
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def _compress(dataset: FileDataset, transfer_syntax: str, frames: list[bytes]) -> FileDataset:
    """Replace the pixels by frames that were encoded elsewhere."""
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(transfer_syntax)
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].is_undefined_length = True
    return dataset


@pytest.fixture
def build_dataset() -> Callable[..., FileDataset]:
    """build_dataset(pixels, **tags) -> data set; the last axis is colour where it is 3 long."""
    return _build_dataset


@pytest.fixture
def compress() -> Callable[..., FileDataset]:
    """compress(dataset, transfer syntax, encoded frames) -> the same data set."""
    return _compress


@pytest.fixture
def write_slice(tmp_path: Path) -> Callable[..., Path]:
    """write_slice(name, pixels, **tags) -> path of a file in the folder tmp_path / "series"."""
    folder = tmp_path / "series"
    folder.mkdir()

    def write(name: str, pixels: np.ndarray, **tags: Any) -> Path:
        path = folder / name
        _build_dataset(pixels, **tags).save_as(path, write_like_original=False)
        return path

    return write


@pytest.fixture
def write_stack(write_slice: Callable[..., Path]) -> Callable[..., Path]:
    """write_stack(z positions, **tags): slice n is filled with n and lies at z; -> folder."""

    def write(positions: list[float], **tags: Any) -> Path:
        for n, z in enumerate(positions):
            given = {"ImagePositionPatient": [0, 0, z], "InstanceNumber": n + 1} | tags
            path = write_slice(f"{n:03d}", np.full((3, 4), n, np.uint16), **given)
        return path.parent

    return write

"""Clicks on series of a real PACS: Orthanc, our server, and the requests of OHIF and Slicer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import requests
import SimpleITK as sitk
from monailabel.client import MONAILabelClient
from pydicom.encaps import generate_pixel_data_frame

from tests.support.dicom_files import (
    MR_SHAPE,
    mr_array,
    read_with_simpleitk,
    write_mr_series,
    write_seg,
)
from tests.support.organs import CT_SERIES, organ_click, organ_mask
from tests.support.orthanc import RunningOrthanc, start_orthanc
from tests.support.server import RunningServer, start_server

pytestmark = pytest.mark.pacs

MODEL = "samed2d"
OHIF_PARAMS = {
    "background": [],
    "result_extension": ".nrrd",
    "result_dtype": "uint8",
    "result_compress": False,
    "restore_label_idx": False,
}
"""What OHIF's MONAI Label extension 0.8.5 sends beside the foreground points."""


@pytest.fixture(scope="module")
def mr_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sagittal MR series as files."""
    folder = tmp_path_factory.mktemp("mr")
    write_mr_series(folder, mr_array())
    return folder


@pytest.fixture(scope="module")
def compressed_mr_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another MR series, in JPEG 2000; Orthanc cannot decode that without a further plugin."""
    folder = tmp_path_factory.mktemp("compressed-mr")
    write_mr_series(folder, mr_array(seed=1), jpeg_2000=True)
    return folder


@pytest.fixture(scope="module")
def pacs(
    tmp_path_factory: pytest.TempPathFactory, mr_folder: Path, compressed_mr_folder: Path
) -> Iterator[RunningOrthanc]:
    """A PACS with the sample CT, both MR series, and a DICOM SEG of the first one."""
    seg = tmp_path_factory.mktemp("seg")
    write_seg(seg / "seg.dcm", mr_folder)
    with start_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        for folder in (CT_SERIES, mr_folder, compressed_mr_folder, seg):
            running.stow(folder)
        yield running


@pytest.fixture(scope="module")
def server(pacs: RunningOrthanc) -> Iterator[RunningServer]:
    """Our server on that PACS."""
    with start_server(pacs.dicom_web) as running:
        yield running


def series_of(folder: Path) -> str:
    """SeriesInstanceUID of the files in a folder."""
    return str(pydicom.dcmread(next(folder.iterdir())).SeriesInstanceUID)


def infer_as_ohif(server: RunningServer, image: str, point: Sequence[int]) -> requests.Response:
    """The request of OHIF: one form field, no file, the answer is the bare label file."""
    params = json.dumps({"foreground": [list(point)], **OHIF_PARAMS})
    return requests.post(
        f"{server.url}/infer/{MODEL}",
        params={"image": image, "output": "image"},
        files={"params": (None, params)},
        timeout=120,
    )


def label_of(answer: requests.Response, folder: Path) -> sitk.Image:
    """The label file of an answer, read as Slicer reads it."""
    assert answer.status_code == 200, answer.text
    file = folder / "answer.nrrd"
    file.write_bytes(answer.content)
    return sitk.ReadImage(str(file))


def assert_same_grid(label: sitk.Image, image: sitk.Image) -> None:
    """Same size and same place in the patient."""
    assert label.GetSize() == image.GetSize()
    assert np.allclose(label.GetOrigin(), image.GetOrigin(), atol=1e-3)
    assert np.allclose(label.GetSpacing(), image.GetSpacing(), atol=1e-4)
    assert np.allclose(label.GetDirection(), image.GetDirection(), atol=1e-5)


def assert_mask_of_click(label: sitk.Image, point: Sequence[int]) -> npt.NDArray[np.bool_]:
    """One object, around the click, on its slice alone; returns it as (I, J, K)."""
    values = sitk.GetArrayFromImage(label).transpose(2, 1, 0)
    assert values.dtype == np.uint8
    assert set(np.unique(values)) == {0, 1}
    assert values[tuple(point)] == 1
    assert np.flatnonzero(values.any(axis=(0, 1))).tolist() == [point[2]]
    return values > 0


def test_datastore_lists_ct_and_mr_but_no_seg(
    pacs: RunningOrthanc, server: RunningServer, compressed_mr_folder: Path
) -> None:
    assert len(pacs.series_uids()) == 4
    stats = requests.get(f"{server.url}/datastore/", timeout=60).json()
    assert (stats["total"], stats["completed"]) == (3, 1)
    unlabelled = {series_of(CT_SERIES), series_of(compressed_mr_folder)}
    picked = requests.post(f"{server.url}/activelearning/random", json={}, timeout=60).json()
    assert picked["id"] in unlabelled
    # OHIF opens the study by it; nothing of the series was downloaded for the answer.
    assert picked["StudyInstanceUID"] in pacs.study_uids()
    assert "path" not in picked


def test_ohif_click_on_the_ct_series(server: RunningServer, tmp_path: Path) -> None:
    truth = organ_mask("liver")
    point = organ_click(truth)
    answer = infer_as_ohif(server, series_of(CT_SERIES), point)
    label = label_of(answer, tmp_path)
    assert_same_grid(label, read_with_simpleitk(CT_SERIES))
    mask = assert_mask_of_click(label, point)[:, :, point[2]]
    organ = truth[:, :, point[2]]
    # A flipped axis or a wrong slice would not reach this; how good the mask is, other tests say.
    assert 2 * (mask & organ).sum() / (mask.sum() + organ.sum()) >= 0.5


@pytest.mark.parametrize("folder", ["mr_folder", "compressed_mr_folder"])
def test_ohif_click_on_a_sagittal_mr_series(
    server: RunningServer, folder: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    files = request.getfixturevalue(folder)
    # Beside the middle slice, so that a reversed order of slices shows.
    point = (MR_SHAPE[0] // 2, MR_SHAPE[1] // 2, MR_SHAPE[2] // 2 - 1)
    image = read_with_simpleitk(files)
    assert image.GetSize() == MR_SHAPE
    label = label_of(infer_as_ohif(server, series_of(files), point), tmp_path)
    assert_same_grid(label, image)
    assert_mask_of_click(label, point)


def test_slicer_gets_the_label_and_what_is_known_about_it(
    server: RunningServer, tmp_path: Path
) -> None:
    i, j, k = organ_click(organ_mask("spleen"))
    client = MONAILabelClient(server.url, tmpdir=str(tmp_path))
    params: dict[str, Any] = {
        "label": "spleen",
        "foreground": [[i, j, k]],
        "background": [],
        "slice": k,
        "result_extension": ".nrrd",
        "result_dtype": "uint8",
    }
    file, facts = client.infer(MODEL, series_of(CT_SERIES), params)
    label = sitk.ReadImage(file)
    assert_same_grid(label, read_with_simpleitk(CT_SERIES))
    assert_mask_of_click(label, (i, j, k))
    assert facts["slice"] == k
    assert facts["label_names"] == {"spleen": 1}
    assert {"model_version", "backend", "device", "latencies", "iou"} <= set(facts)


def test_click_outside_of_the_series_is_refused(server: RunningServer, mr_folder: Path) -> None:
    answer = infer_as_ohif(server, series_of(mr_folder), (MR_SHAPE[0], 0, 0))
    assert answer.status_code == 422
    assert f"0 <= i <= {MR_SHAPE[0] - 1}" in answer.json()["detail"]


@pytest.mark.parametrize("image", ["1.2.826.0.1.99", "phantom", "1.2.3..4"])
def test_series_that_the_pacs_lacks_is_not_found(server: RunningServer, image: str) -> None:
    answer = infer_as_ohif(server, image, (1, 1, 1))
    assert answer.status_code == 404
    assert image in answer.json()["detail"]


def studies_through_proxy(server: RunningServer, **filters: str) -> list[str]:
    """StudyInstanceUIDs that OHIF's study list would show."""
    address = f"{server.url}/proxy/dicom/qido/studies"
    studies = requests.get(address, params=filters, timeout=60).json()
    return sorted(study["0020000D"]["Value"][0] for study in studies)


def test_dicom_proxy_shows_ohif_the_studies(pacs: RunningOrthanc, server: RunningServer) -> None:
    assert studies_through_proxy(server) == pacs.study_uids()
    sample = pydicom.dcmread(next(CT_SERIES.iterdir()))
    assert studies_through_proxy(server, PatientID=sample.PatientID) == [sample.StudyInstanceUID]
    assert len(studies_through_proxy(server, limit="1", offset="1")) == 1


@pytest.mark.parametrize("folder", ["mr_folder", "compressed_mr_folder"])
def test_dicom_proxy_passes_metadata_and_pixels(
    server: RunningServer, folder: str, request: pytest.FixtureRequest
) -> None:
    files = [pydicom.dcmread(file) for file in request.getfixturevalue(folder).iterdir()]
    first = files[0]
    series = f"studies/{first.StudyInstanceUID}/series/{first.SeriesInstanceUID}"
    wado = f"{server.url}/proxy/dicom/wado/{series}"
    assert len(requests.get(f"{wado}/metadata", timeout=60).json()) == len(files)
    # As OHIF asks; it decodes every transfer syntax itself.
    accept = 'multipart/related; type="application/octet-stream"; transfer-syntax="*"'
    path = f"{wado}/instances/{first.SOPInstanceUID}/frames/1"
    answer = requests.get(path, headers={"Accept": accept}, timeout=60)
    assert answer.status_code == 200
    stored = first.PixelData
    if first.file_meta.TransferSyntaxUID.is_compressed:
        stored = next(generate_pixel_data_frame(stored, 1))
    assert stored.rstrip(b"\0") in answer.content

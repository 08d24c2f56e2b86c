"""Labels saved over HTTP into a real Orthanc, read back by a server that has never seen them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import requests

from lib.imaging.volume import read_volume
from lib.server.label_check import LabelMap
from tests.support.dicom_files import mr_array, write_mr_series
from tests.support.organs import CT_SERIES
from tests.support.orthanc import RunningOrthanc, start_orthanc
from tests.support.server import RunningServer, start_server

pytestmark = [pytest.mark.pacs, pytest.mark.server]

NAMES = [{"name": "liver", "idx": 1}, {"name": "spleen", "idx": 2}, {"name": "lesion", "idx": 3}]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrthanc]:
    home = tmp_path_factory.mktemp("orthanc")
    with start_orthanc(home) as running:
        folder = tmp_path_factory.mktemp("mr")
        write_mr_series(folder, mr_array())
        running.stow(folder)
        running.stow(CT_SERIES)
        yield running


def read_file(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    with tempfile.NamedTemporaryFile(suffix=".nii.gz") as file:
        Path(file.name).write_bytes(content)
        volume = read_volume(Path(file.name))
    return volume.array, volume.affine


def get(server: RunningServer, path: str, **query: str) -> requests.Response:
    answer = requests.get(f"{server.url}/datastore{path}", params=query, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def save(server: RunningServer, image: str, labels: np.ndarray, **params: object) -> dict[str, Any]:
    answer = try_save(server, image, labels, **params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def try_save(
    server: RunningServer, image: str, labels: np.ndarray, **params: object
) -> requests.Response:
    _, affine = read_file(get(server, "/image", image=image).content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "label.nii.gz")
        LabelMap(labels, affine).write(path)
        return requests.put(
            f"{server.url}/datastore/label",
            params={"image": image},
            data={"params": json.dumps({"label_info": NAMES, **params})},
            files={"label": ("label.nii.gz", path.read_bytes())},
            timeout=120,
        )


def saved(server: RunningServer, image: str) -> tuple[np.ndarray, list[str]]:
    values, _ = read_file(get(server, "/label", label=image, tag="final").content)
    info = get(server, "/label/info", label=image, tag="final").json()
    return values, [entry["name"] for entry in info["label_info"]]


def drawing(shape: tuple[int, ...], values: tuple[int, ...]) -> np.ndarray:
    """Boxes side by side, with a gap between their slices."""
    labels = np.zeros(shape, np.uint8)
    for number, value in enumerate(values):
        left = 3 + number * 8
        labels[left : left + 6, 5 + number : 17, [1, 3]] = value
    return labels


def test_saved_here_and_read_there(pacs: RunningOrthanc, random_weights: Path) -> None:
    conf = {"architecture": "samed2d_t", "checkpoint": str(random_weights)}
    labels = {}
    with start_server(pacs.dicom_web, conf=conf) as server:
        images = get(server, "/", output="all").json()
        assert images["objects"] == {}
        listed = pacs.series_uids()
        status = get(server, "/").json()
        assert (status["total"], status["completed"]) == (2, 0)
        for number, image in enumerate(listed):
            shape = read_file(get(server, "/image", image=image).content)[0].shape
            labels[image] = drawing(shape, ((2, 3), (3,))[number])
            said = save(server, image, labels[image], reviewed=[0, 1])
            assert (said["stored"], said["image"]) == (True, image), said
            # Fresh at once, without waiting for any list to grow old.
            status = get(server, "/").json()
            assert status["completed"] == number + 1
            np.testing.assert_array_equal(saved(server, image)[0], labels[image])
        sample = requests.post(f"{server.url}/activelearning/random", json={}, timeout=60)
        assert not sample.ok or not sample.json()  # nothing is left to label
        # A correction replaces what is served, and leaves the older SEG alone.
        first = listed[0]
        labels[first] = labels[first][::-1]
        save(server, first, labels[first])
        empty = save(server, listed[1], labels[listed[1]] * 0)
        assert empty["stored"] is True
        assert len(pacs.series_uids("SEG")) == 4
        with start_server(pacs.dicom_web, conf=conf) as fresh:
            assert get(fresh, "/").json()["completed"] == 2
            values, names = saved(fresh, first)
            assert names == ["spleen", "lesion"]
            np.testing.assert_array_equal(values, np.array([0, 0, 1, 2])[labels[first]])
            values, names = saved(fresh, listed[1])
            assert not values.any()
            train = get(fresh, "/", output="train").json()
            assert {Path(item["image"]).name.split(".nii")[0] for item in train} == set(listed)
            check_two_servers(server, fresh, first, labels[first])
    for seg in pacs.series_uids("SEG"):
        check_seg(pacs, seg)


def check_two_servers(
    here: RunningServer, there: RunningServer, image: str, labels: np.ndarray
) -> None:
    """Neither replaces a label of the other one that it has not seen."""

    def revision(server: RunningServer) -> str:
        info = get(server, "/label/info", label=image, tag="final").json()
        return str(info["revision"])

    both = revision(here)
    assert both == revision(there) != ""
    first = save(here, image, labels, based_on=both)
    refused = try_save(there, image, labels[::-1], based_on=both)
    assert refused.status_code == 409, refused.text
    assert "NOT saved" in refused.json()["detail"]
    second = save(there, image, labels[::-1], based_on=first["revision"])
    assert try_save(here, image, labels, based_on=first["revision"]).status_code == 409
    for server in (here, there):  # values of segments are numbered anew in a SEG
        np.testing.assert_array_equal(saved(server, image)[0] > 0, labels[::-1] > 0)
    assert revision(here) == second["revision"]


def check_seg(pacs: RunningOrthanc, series: str) -> None:
    """What is in the PACS refers to its image and keeps to it."""
    client = pacs.client()
    (found,) = client.search_for_series(search_filters={"SeriesInstanceUID": series})
    study = found["0020000D"]["Value"][0]
    (seg,) = client.retrieve_series(study, series)
    image = seg.ReferencedSeriesSequence[0].SeriesInstanceUID
    source: pydicom.Dataset = client.retrieve_series(study, image)[0]
    assert seg.PatientID == source.PatientID
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert (seg.Rows, seg.Columns) == (source.Rows, source.Columns)
    assert seg.ContentCreatorName == "admin"

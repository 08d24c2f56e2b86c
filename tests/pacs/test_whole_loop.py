"""Next sample, clicks, save, training by itself, new version, next sample: against a real PACS."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import requests

from tests.server.clicks import label_array, post_infer, read_answer
from tests.support.dicom_files import write_mr_series
from tests.support.orthanc import RunningOrthanc, start_orthanc
from tests.support.server import RunningServer, start_server
from tests.support.small_sam import disc

pytestmark = pytest.mark.pacs

PLACES = ((40, 44), (58, 40), (44, 60), (60, 58), (50, 46), (48, 56))
RADIUS = 14
MARGIN = 5
"""What is to be learned: an object is wider than its bright part."""
EVERY = 3
SECONDS = 420.0
SIZE = (96, 96, 2)


def truth(number: int) -> npt.NDArray[np.bool_]:
    """(I, J) of every slice of a case."""
    return disc(*PLACES[number], RADIUS + MARGIN, SIZE[0]).T


def write_case(folder: Path, number: int) -> str:
    """One patient with a bright disc; its SeriesInstanceUID."""
    folder.mkdir()
    rng = np.random.default_rng(number)
    pixels = rng.normal(300, 25, SIZE)
    pixels[disc(*PLACES[number], RADIUS, SIZE[0]).T] += 500
    uid = write_mr_series(folder, pixels.clip(0, 4000).astype(np.uint16))
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        data.PatientID = f"P{number}"
        data.save_as(path)
    return uid


@pytest.fixture(scope="module")
def cases(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[RunningOrthanc, dict[str, int]]]:
    """A PACS with six unlabelled series: UID -> number."""
    folder = tmp_path_factory.mktemp("loop")
    (folder / "orthanc").mkdir()
    with start_orthanc(folder / "orthanc") as pacs:
        numbers = {}
        for number in range(len(PLACES)):
            numbers[write_case(folder / str(number), number)] = number
            pacs.stow(folder / str(number))
        yield pacs, numbers


def wait(server: RunningServer, look: Callable[[], Any], what: str) -> Any:
    """What ``look`` finds; asked until it is something."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.5)
    raise AssertionError(f"no {what} within {SECONDS} s:\n{server.log()[-4000:]}")


def next_sample(server: RunningServer, **params: str) -> dict[str, Any]:
    # As OHIF asks: always "random", and without a name.
    answer = requests.post(f"{server.url}/activelearning/random", json=params, timeout=60)
    assert answer.ok, answer.text
    return dict(answer.json())


def scored(server: RunningServer, version: str) -> bool:
    """Whether all unlabelled images have scores of a version."""
    status = server.info()["strategies"]["random"]["scoring"]
    serving = server.info()["models"]["samed2d"]["model_version"]
    done = status.get("images_left") == 0 and status.get("images_scored", 0) > 0
    return bool(done and serving == version)


def click_and_save(server: RunningServer, image: str, number: int) -> npt.NDArray[np.uint8]:
    """Click once, correct the answer to the truth, save; what was saved."""
    x, y = PLACES[number]
    answer = post_infer(server, {"foreground": [[x, y, 0]]}, image, output="image")
    assert answer.ok, answer.text
    clicked = read_answer(answer.content)
    assert label_array(clicked)[x, y, 0], "the click is inside of the answer"
    labels = np.zeros(SIZE, np.uint8)
    labels[truth(number)] = 1
    path = server.home / "tmp" / "label.nii.gz"
    affine = affine_of(answer.content, server)
    nib.save(nib.Nifti1Image(labels, affine), path)
    saved = requests.put(
        f"{server.url}/datastore/label",
        params={"image": image},
        data={"params": json.dumps({"label_info": [{"name": "disc", "idx": 1}]})},
        files={"label": ("label.nii.gz", path.read_bytes())},
        timeout=120,
    )
    assert saved.ok, saved.text
    assert saved.json()["stored"] is True
    return labels


def affine_of(content: bytes, server: RunningServer) -> npt.NDArray[np.float64]:
    """The image's affine (RAS), taken from an answer."""
    from lib.imaging.volume import read_volume

    path = server.home / "tmp" / "answer.nrrd"
    path.write_bytes(content)
    return read_volume(path).affine


@pytest.mark.timeout(900)
def test_the_loop_closes(cases: tuple[RunningOrthanc, dict[str, int]]) -> None:
    pacs, numbers = cases
    conf = {
        "architecture": "samed2d_t",
        "auto_train": str(EVERY),
        "score_budget": "600",
        "zoom": "off",
        "labels": "disc",
    }
    with start_server(pacs.dicom_web, conf=conf) as server:
        before = server.info()["models"]["samed2d"]["model_version"]
        wait(server, lambda: scored(server, before), "scores")
        labelled: list[str] = []
        for _ in range(EVERY):
            sample = next_sample(server)
            assert sample["id"] not in labelled
            assert sample["strategy"] == "hybrid" and sample["reason"]
            assert sample["model_version"] == before
            click_and_save(server, sample["id"], numbers[sample["id"]])
            labelled.append(sample["id"])
            status = requests.get(f"{server.url}/datastore/", timeout=60).json()
            assert status["completed"] == len(labelled)
        assert sorted(segs(pacs)) == sorted(labelled)

        def another() -> str | None:
            version = server.info()["models"]["samed2d"]["model_version"]
            return version if version != before else None

        after = wait(server, another, "version that was trained by itself")
        click = {"foreground": [[*PLACES[0], 0]]}
        facts = post_infer(server, click, labelled[0], output="json").json()
        assert facts["model_version"] == after

        def chosen_by_the_new_version() -> dict[str, Any] | None:
            # Whoever gives a name and asks again has skipped a case; old scores stand until new
            # ones are there; a case without any is drawn at random.
            found = next_sample(server, client_id="tester")
            new = found["model_version"] == after and found["score"] is not None
            return found if new else None

        sample = wait(server, chosen_by_the_new_version, "sample scored by the new version")
        assert sample["id"] not in labelled and sample["strategy"] == "hybrid"


def segs(pacs: RunningOrthanc) -> list[str]:
    """The image series that the SEGs in the PACS refer to."""
    found = requests.get(f"{pacs.dicom_web}/series", params={"Modality": "SEG"}, timeout=60).json()
    images = []
    for series in found:
        study, uid = series["0020000D"]["Value"][0], series["0020000E"]["Value"][0]
        metadata = requests.get(
            f"{pacs.dicom_web}/studies/{study}/series/{uid}/metadata", timeout=60
        ).json()
        (referenced,) = metadata[0]["00081115"]["Value"]
        images.append(referenced["0020000E"]["Value"][0])
    return images

import os
from pathlib import Path

import pytest
from monailabel.datastore.local import LocalDatastore

from lib.errors import NotFoundError, PromptError, RequestError
from lib.server.dispatch import find_task, image_path, run_infer
from tests.support.studies import OBLIQUE, write_small_study

FACTS = {"label_names": {"liver": 1}, "iou": 0.5}


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    return LocalDatastore(str(write_small_study(folder)), extensions=["*.nii.gz", "*.png"])


@pytest.fixture
def answer(tmp_path):
    return tmp_path / "answer.nrrd"


@pytest.fixture
def task(answer):
    """A task that notes its requests and answers with the same file."""

    def call(request):
        call.requests.append(request)
        answer.write_bytes(b"NRRD")
        return str(answer), FACTS

    call.requests = []
    return call


def test_an_id_becomes_its_file(store, task, answer):
    result = run_infer({"m": task}, {"model": "m", "image": OBLIQUE, "slice": 3}, store)
    (request,) = task.requests
    assert Path(request["image"]).name == f"{OBLIQUE}.nii.gz"
    assert request["slice"] == 3
    assert result["file"] == str(answer)
    assert result["params"] == FACTS
    assert answer.exists()


def test_an_upload_is_used_as_it_is(store, task, tmp_path):
    run_infer({"m": task}, {"model": "m", "image": str(tmp_path / "up.nii.gz")}, store)
    assert task.requests[0]["image"] == str(tmp_path / "up.nii.gz")


def test_an_unknown_id_is_not_looked_for_in_the_working_directory(store, task, tmp_path):
    # The host answers with the DICOM series of its working directory here.
    (tmp_path / "unknown").touch()
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        with pytest.raises(NotFoundError, match="'unknown'"):
            run_infer({"m": task}, {"model": "m", "image": "unknown"}, store)
    finally:
        os.chdir(before)
    assert task.requests == []


@pytest.mark.parametrize("image", ["", "nothing", "../study/oblique"])
def test_image_path_of_unknown_ids(store, image):
    with pytest.raises(NotFoundError):
        image_path(store, image)


def test_unknown_models_name_the_known(task):
    with pytest.raises(NotFoundError, match="one, two") as info:
        find_task({"one": task, "two": task}, "three")
    assert info.value.status == 404


def test_save_label_keeps_the_answer_under_its_tag(store, task):
    request = {"model": "m", "image": OBLIQUE, "save_label": True, "label_tag": "final"}
    result = run_infer({"m": task}, request, store)
    assert result["label"] == OBLIQUE
    assert Path(store.get_label_uri(OBLIQUE, "final")).read_bytes() == b"NRRD"
    info = store.get_label_info(OBLIQUE, "final")
    assert info["label_info"] == [{"name": "liver", "idx": 1}]
    assert info["model"] == "m"


def test_a_label_that_cannot_be_saved_leaves_no_file(store, task, answer, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(store, "save_label", fail)
    with pytest.raises(OSError, match="disk full"):
        run_infer({"m": task}, {"model": "m", "image": OBLIQUE, "save_label": True}, store)
    assert not answer.exists()


def test_errors_of_a_task_pass_through(store):
    def refuse(request):
        raise PromptError(got="nothing")

    with pytest.raises(PromptError):
        run_infer({"m": refuse}, {"model": "m", "image": OBLIQUE}, store)


def test_a_tag_that_is_a_path_saves_nothing(store, task, answer):
    request = {"model": "m", "image": OBLIQUE, "save_label": True, "label_tag": "../../x"}
    with pytest.raises(RequestError, match="label_tag"):
        run_infer({"m": task}, request, store)
    assert not answer.exists()


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"save_label": True, "label_tag": "final"}, [(OBLIQUE, OBLIQUE)]),
        ({"save_label": True, "label_tag": "original"}, []),
        ({}, []),
    ],
)
def test_final_labels_are_told(store, task, sent, told):
    saved = []
    run_infer(
        {"m": task}, {"model": "m", "image": OBLIQUE, **sent}, store, lambda *ids: saved.append(ids)
    )
    assert saved == told


def test_a_task_that_saves_needs_no_word_of_the_client(store, task):
    task.saves = True
    saved = []
    run_infer({"m": task}, {"model": "m", "image": OBLIQUE}, store, lambda *ids: saved.append(ids))
    assert saved == [(OBLIQUE, OBLIQUE)]
    assert store.get_label_info(OBLIQUE, "final")["model"] == "m"


def test_a_task_that_saves_cannot_save_an_upload(store, task, tmp_path):
    task.saves = True
    with pytest.raises(RequestError, match="an uploaded image"):
        run_infer({"m": task}, {"model": "m", "image": str(tmp_path / "up.nii.gz")}, store)
    assert task.requests == []

"""samed2d_volume as the host calls it, with random weights: form and behaviour, not quality."""

from __future__ import annotations

import json
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from lib.errors import PromptError, SupersededError
from lib.imaging.volume import ReadLimits
from lib.inference import propagate as propagation
from lib.options import AppOptions
from lib.server import volume_infer
from lib.server.infer import Samed2dInferTask
from lib.server.models import ModelSpec, NetworkChoice
from lib.server.requests import ClickRequest
from lib.server.served_model import ServedModel
from lib.server.volume_infer import Samed2dVolumeTask
from lib.server.volumes import VolumeStore
from tests.server.clicks import label_array
from tests.support.studies import OBLIQUE, PICTURE, PLAIN, SHAPES

SPEC = ModelSpec("samed2d_volume", "volume", "Volume.", 3, ("samed2d_t",))
CLICK = ModelSpec("samed2d", "click", "Click.", 2, ("samed2d_t",))
OPTIONS = AppOptions(
    device="cpu",
    labels=("liver", "spleen"),
    backend="torch",
    precision="fp32",
    encode_ahead="off",
    embedding_disk_mb=0,
    volume_seconds=60,
)


@pytest.fixture(scope="module")
def model(random_weights):
    return ServedModel(NetworkChoice("samed2d_t", random_weights), OPTIONS)


@pytest.fixture(scope="module")
def volumes():
    return VolumeStore(1 << 30, ReadLimits())


@pytest.fixture(scope="module")
def task(model, volumes):
    return Samed2dVolumeTask(SPEC, OPTIONS, model, volumes)


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def ask(task, small_study):
    def call(name=OBLIQUE, suffix=".nii.gz", **params):
        image = str(small_study / (name + suffix))
        # Random weights trust themselves on no slice.
        path, facts = task({"model": SPEC.name, "image": image, "threshold": 0, **params})
        return Path(path), facts

    return call


def labels_of(path):
    return label_array(SimpleITK.ReadImage(str(path)))


def test_what_info_says(task):
    info = task.info()
    assert info["type"] == "deepgrow"
    assert info["dimension"] == 3
    assert info["labels"] == {"liver": 1, "spleen": 2}
    json.dumps(info)


def test_the_config_can_be_sent_back_as_it_is(task):
    request = ClickRequest.parse(task.config())
    assert request.time_budget == 60
    assert request.threshold == pytest.approx(0.2)


@pytest.mark.parametrize("extension", [".nrrd", ".nii.gz"])
def test_one_click_answers_the_whole_volume_on_the_images_grid(ask, small_study, extension):
    path, facts = ask(foreground=[[20, 17, 3]], result_extension=extension)
    answer = SimpleITK.ReadImage(str(path))
    image = SimpleITK.ReadImage(str(small_study / f"{OBLIQUE}.nii.gz"))
    assert answer.GetSize() == image.GetSize()
    assert answer.GetPixelID() == SimpleITK.sitkUInt8
    for name in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(answer, name)(), getattr(image, name)(), atol=1e-5)
    labels = label_array(answer)
    assert set(np.unique(labels)) == {0, 1}
    found = np.flatnonzero(labels.any(axis=(0, 1)))
    assert len(found) > 1
    assert facts["slices"] == {"first": found.min(), "last": found.max()}


def test_the_clicked_slice_is_what_a_click_gives(ask, model, volumes, small_study):
    params = {"foreground": [[20, 17, 3]], "background": [[3, 3, 3]]}
    image = {"model": "samed2d", "image": str(small_study / f"{OBLIQUE}.nii.gz")}
    path, _ = Samed2dInferTask(CLICK, OPTIONS, model, volumes)({**image, **params})
    whole = labels_of(ask(**params)[0])
    np.testing.assert_array_equal(whole[:, :, 3], labels_of(path)[:, :, 3])


def test_the_facts(ask):
    _, facts = ask(foreground=[[20, 17, 3]], label="spleen")
    assert facts["label_names"] == {"spleen": 1}
    assert facts["label"] == "spleen"
    assert facts["model"] == "samed2d_volume"
    first, last = facts["slices"]["first"], facts["slices"]["last"]
    assert len(facts["confidence"]) == last - first + 1
    assert all(0 <= value <= 1 for value in facts["confidence"])
    assert facts["prompted"] == [3]
    assert [stop["from"] for stop in facts["stopped"]] == [3, 3]
    assert {"backend", "device", "model_version", "iou"} <= set(facts)
    assert {"read", "encode", "decode", "write", "total"} <= set(facts["latencies"])
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_limits_of_the_request(ask):
    _, facts = ask(foreground=[[20, 17, 3]], max_slices=1)
    assert facts["slices"]["first"] >= 2
    assert facts["slices"]["last"] <= 4
    assert [stop["reason"] for stop in facts["stopped"]] == ["limit", "limit"]
    _, facts = ask(foreground=[[20, 17, 3]], roi=[0, 47, 0, 35, 2, 3])
    assert facts["slices"]["last"] <= 3
    _, facts = ask(foreground=[[20, 17, 3]], threshold=1)
    assert [stop["reason"] for stop in facts["stopped"]] == ["confidence", "confidence"]


def test_nothing_found(ask, monkeypatch):
    empty = propagation.VolumeResult({}, {}, (3,), (), 0.5, propagation.Spent())
    monkeypatch.setattr(volume_infer, "propagate", lambda *args: empty)
    path, facts = ask(foreground=[[20, 17, 3]])
    assert facts["slices"] is None
    assert facts["confidence"] == []
    assert not labels_of(path).any()


def test_a_picture_is_a_volume_of_one_slice(ask):
    path, facts = ask(PICTURE, ".png", foreground=[[40, 10, 0]])
    assert SimpleITK.ReadImage(str(path)).GetSize() == SHAPES[PICTURE]
    assert [stop["reason"] for stop in facts["stopped"]] == ["end of volume"] * 2


def test_a_refused_request_leaves_no_file(ask, tmp_path):
    with pytest.raises(PromptError):
        ask(background=[[20, 17, 3]])
    assert list(tmp_path.iterdir()) == []


def test_two_users_do_not_change_each_others_answers(ask):
    alone = ask(foreground=[[20, 17, 3]])[0].read_bytes()
    ask(foreground=[[30, 20, 3]], background=[[20, 17, 3]])
    ask(PLAIN, foreground=[[9, 9, 3]])
    assert ask(foreground=[[20, 17, 3]])[0].read_bytes() == alone


def started(monkeypatch):
    """Make the first request wait on its way until it is superseded or let go."""
    on_the_way, go_on = threading.Event(), threading.Event()
    original = volume_infer.propagate

    def slow(network, prompts, settings, cancelled, answered):
        if not on_the_way.is_set():
            on_the_way.set()
            assert go_on.wait(60)
        return original(network, prompts, settings, cancelled, answered)

    monkeypatch.setattr(volume_infer, "propagate", slow)
    return on_the_way, go_on


@pytest.mark.parametrize(
    ("older", "newer", "superseded"),
    [
        ({"client_id": "a", "label": "liver"}, {"client_id": "a", "label": "liver"}, True),
        ({"client_id": "a", "label": "liver"}, {"client_id": "a", "label": "spleen"}, False),
        ({"client_id": "a", "label": "liver"}, {"client_id": "b", "label": "liver"}, False),
        ({}, {}, False),  # two users of OHIF, which says nothing of either
    ],
)
def test_a_newer_request_for_the_same_label_ends_the_older(
    ask, monkeypatch, older, newer, superseded
):
    on_the_way, go_on = started(monkeypatch)
    outcome = []

    def first():
        try:
            outcome.append(ask(foreground=[[20, 17, 3]], **older))
        except SupersededError as error:
            outcome.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert on_the_way.wait(60)
    path, _ = ask(foreground=[[21, 17, 3]], **newer)
    go_on.set()
    thread.join(60)
    assert path.is_file()
    assert isinstance(outcome[0], SupersededError) == superseded

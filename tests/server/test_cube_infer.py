"""sammed3d as the host calls it, with random weights: form and behaviour, not quality."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch

from lib.errors import PromptError, RequestError
from lib.imaging.volume import ReadLimits
from lib.inference.cube_segmenter import CubeResult, CubeSegmenter, CubeTimings
from lib.networks import build_model3d
from lib.networks.checkpoint import save_weights
from lib.options import AppOptions
from lib.server.cube_infer import CubeInferTask, planes
from lib.server.drafts import Drafts
from lib.server.models import ModelSpec, NetworkChoice
from lib.server.requests import ClickRequest
from lib.server.served_model import ServedCubes
from lib.server.start_label import FILE_KEY
from lib.server.volumes import VolumeStore
from lib.training.registry import Registry
from tests.server.clicks import label_array
from tests.support.studies import OBLIQUE, PICTURE, SHAPES
from tests.support.versions import FACTS, inverted

SPEC = ModelSpec("sammed3d", "cubes", "Cubes.", 3, ("sammed3d_t",))
OPTIONS = AppOptions(device="cpu", labels=("liver", "spleen"), backend="torch", precision="int8")
CLICK = {"foreground": [[20, 17, 3]]}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of a network that finds something wherever one clicks."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random3d.safetensors"
    save_weights(build_model3d("sammed3d_t"), path)
    return path


@pytest.fixture(scope="module")
def model(weights, tmp_path_factory):
    registry = tmp_path_factory.mktemp("registry")
    options = replace(OPTIONS, registry=registry, precision="fp32")
    return ServedCubes(NetworkChoice("sammed3d_t", weights), options)


@pytest.fixture(scope="module")
def task(model):
    return CubeInferTask(SPEC, OPTIONS, model, VolumeStore(1 << 30, ReadLimits()), Drafts())


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def ask(task, small_study):
    def call(name=OBLIQUE, suffix=".nii.gz", **params):
        path, facts = task(
            {"model": SPEC.name, "image": str(small_study / (name + suffix)), **params}
        )
        return Path(path), facts

    return call


def test_what_info_says(task):
    info = task.info()
    assert (info["type"], info["dimension"]) == ("deepgrow", 3)
    assert info["labels"] == {"liver": 1, "spleen": 2}
    assert info["architecture"] == "sammed3d_t" and info["encode_ahead"] == []
    json.dumps(info)
    ClickRequest.parse(task.config())


def test_a_click_answers_on_the_images_grid(ask, small_study):
    path, facts = ask(**CLICK, label="spleen")
    answer = SimpleITK.ReadImage(str(path))
    image = SimpleITK.ReadImage(str(small_study / f"{OBLIQUE}.nii.gz"))
    assert answer.GetSize() == image.GetSize()
    for name in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(answer, name)(), getattr(image, name)(), atol=1e-5)
    found = np.flatnonzero(label_array(answer).any(axis=(0, 1)))
    assert facts["slices"] == ({"first": found.min(), "last": found.max()} if len(found) else None)
    assert facts["label_names"] == {"spleen": 1} and facts["model"] == "sammed3d"
    assert {"backend", "device", "model_version", "iou", "cubes"} <= set(facts)
    assert {"read", "cut", "encode", "decode", "write", "total"} <= set(facts["latencies"])
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert ask(**CLICK)[1]["encoded_before"]


def test_the_mask_is_written_where_it_is(ask, monkeypatch):
    mask = np.zeros(SHAPES[OBLIQUE], bool)
    mask[3:9, 5:7, 2:4] = True
    result = CubeResult(mask, float("nan"), 1, False, "torch fp32", CubeTimings(0, 0, 0))
    monkeypatch.setattr(CubeSegmenter, "segment", lambda *args: result)
    path, facts = ask(**CLICK)
    assert np.array_equal(label_array(SimpleITK.ReadImage(str(path))), mask)
    assert facts["slices"] == {"first": 2, "last": 3} and facts["iou"] is None
    assert planes(mask)[2].shape == SHAPES[OBLIQUE][1::-1]


def test_a_picture_is_a_volume_of_one_slice(ask):
    path, _ = ask(PICTURE, ".png", foreground=[[40, 10, 0]])
    assert SimpleITK.ReadImage(str(path)).GetSize() == SHAPES[PICTURE]


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"foreground": [[400, 17, 3]]}, PromptError),
        ({"background": [[20, 17, 3]]}, PromptError),
        ({FILE_KEY: "label.nii.gz", **CLICK}, RequestError),
    ],
)
def test_what_cannot_be_answered(ask, params, error):
    with pytest.raises(error):
        ask(**params)


def test_published_versions_are_served_with_the_embeddings_of_the_base(model, weights, ask):
    base = model.live()
    ask(**CLICK)
    registry = Registry(model._options.registry, "sammed3d_t", weights)
    registry.publish(inverted(build_model3d("sammed3d_t", weights)), FACTS)
    assert model.refresh()
    live = model.live()
    assert live.segmenter.network.embedder is base.segmenter.network.embedder
    _, facts = ask(**CLICK)
    assert facts["encoded_before"] and "-v0001-" in facts["model_version"]
    assert live.version_facts()["name"] == "v0001"

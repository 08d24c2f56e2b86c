"""SAM-Med3D beside SAM-Med2D in one server, asked by MONAI Label's own client and as OHIF does."""

from __future__ import annotations

import pytest
import requests
import SimpleITK
import torch
from monailabel.client import MONAILabelClient

from lib.networks import build_model3d
from lib.networks.checkpoint import save_weights
from tests.server.clicks import label_array, ohif_click, read_answer
from tests.support.server import start_server
from tests.support.studies import OBLIQUE, SHAPES, write_small_study

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cubes")
    torch.manual_seed(0)
    save_weights(build_model3d("sammed3d_t"), folder / "random3d.safetensors")
    conf = {
        "models": "samed2d,sammed3d",
        "architecture": "sammed3d_t",
        "checkpoint": str(folder / "random3d.safetensors"),
        "backend": "torch",
        "labels": "liver",
    }
    (folder / "study").mkdir()
    with start_server(write_small_study(folder / "study"), conf=conf) as running:
        yield running


def test_both_models_are_listed_with_their_own_networks(server):
    models = server.info()["models"]
    assert set(models) == {"samed2d", "sammed3d", "submit"}
    assert models["sammed3d"]["architecture"] == "sammed3d_t"
    assert models["sammed3d"]["weights"] == "random3d.safetensors"
    assert models["samed2d"]["architecture"].startswith("samed2d")
    versions = requests.get(f"{server.url}/model_version/sammed3d", timeout=60)
    assert versions.json()["serving"] == "base"


def test_the_client_of_slicer(server, tmp_path):
    client = MONAILabelClient(server.url, str(tmp_path), "somebody")
    params = {"label": "liver", "foreground": [[20, 17, 5]], "background": [[2, 2, 2]]}
    path, facts = client.infer("sammed3d", OBLIQUE, params)
    assert SimpleITK.ReadImage(path).GetSize() == SHAPES[OBLIQUE]
    assert facts["label_names"] == {"liver": 1}
    assert facts["model_version"].startswith("sammed3d_t-")
    assert {"backend", "device", "iou", "cubes"} <= set(facts)
    _, again = client.infer("sammed3d", OBLIQUE, params)
    assert again["encoded_before"]
    _, box = client.infer("sammed3d", OBLIQUE, {"roi": [30, 10, 30, 8, 6, 2]})
    assert box["label_names"] == {"object": 1}


def test_a_click_of_ohif_on_each(server):
    for model in ("samed2d", "sammed3d"):
        answer = ohif_click(server, OBLIQUE, [20, 17, 5], model=model)
        assert answer.status_code == 200, answer.text
        assert label_array(read_answer(answer.content)).shape == SHAPES[OBLIQUE]


def test_clicks_outside_are_explained(server):
    answer = ohif_click(server, OBLIQUE, [2000, 17, 5], model="sammed3d")
    assert answer.status_code == 422 and "click inside the image" in answer.text

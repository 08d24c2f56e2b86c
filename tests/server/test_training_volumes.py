"""From saved labels of volumes to a better network for volumes, over HTTP with the client."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests
import torch
from monailabel.client import MONAILabelClient

from lib.networks.architectures3d import find_architecture3d
from lib.networks.checkpoint import save_weights
from lib.networks.sam3d import build_sam3d
from lib.training.registry import Registry
from tests.server.test_training import finished
from tests.support.server import RunningServer, start_server

pytestmark = pytest.mark.server

CASES = 3
SETTINGS = {
    "model": "sammed3d",
    "max_epochs": 1,
    "epoch_steps": 16,
    "train_batch_size": 1,
    "learning_rate": 0.003,
}


def write_study(folder: Path) -> dict[str, Path]:
    """Volumes with a bright ball and, beside the folder, their labels."""
    labels = {}
    (folder / "images").mkdir(parents=True)
    (folder / "truth").mkdir()
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    for number in range(CASES):
        rng = np.random.default_rng(number)
        places = np.indices((48, 48, 40)) - rng.uniform(16, 26, 3)[:, None, None, None]
        ball = np.sqrt(np.square(places).sum(axis=0)) < 11
        image = rng.normal(50, 8, ball.shape) + 80 * ball
        path = folder / f"images/case{number}.nii.gz"
        nib.save(nib.Nifti1Image(image.astype(np.float32), affine), path)
        labels[f"case{number}"] = folder / f"truth/case{number}.nii.gz"
        nib.save(nib.Nifti1Image(ball.astype(np.uint8), affine), labels[f"case{number}"])
    return labels


@pytest.fixture(scope="module")
def taught(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[RunningServer, dict[str, Path], Path]]:
    folder = tmp_path_factory.mktemp("volumes")
    labels = write_study(folder)
    torch.manual_seed(0)
    save_weights(build_sam3d(find_architecture3d("sammed3d_t")), folder / "random3d.safetensors")
    conf = {
        "models": "samed2d,sammed3d",
        "architecture": "sammed3d_t",
        "checkpoint": str(folder / "random3d.safetensors"),
        "registry": str(folder / "registry"),
        "backend": "torch",
        "labels": "ball",
    }
    with start_server(folder / "images", conf=conf) as server:
        yield server, labels, folder
    shutil.rmtree(folder)


def test_settings_of_slices_are_refused(taught) -> None:
    server, _, _ = taught
    shown = server.info()["trainers"]["sammed3d"]["config"]
    assert "adapter_init" not in shown and "max_minutes" in shown
    requests.post(f"{server.url}/train/sammed3d", json={"adapter_init": "keep"}, timeout=60)
    assert "adapter_init" in "\n".join(finished(server)["details"])  # type: ignore[arg-type]


def test_saved_labels_become_a_better_version_that_answers(taught) -> None:
    server, labels, folder = taught
    client = MONAILabelClient(server.url, str(folder))
    for image, path in labels.items():
        client.save_label(image, str(path), params={"label_info": [{"name": "ball", "idx": 1}]})
    click = {"label": "ball", "foreground": [[20, 20, 20]]}
    _, before = client.infer("sammed3d", "case0", click)
    client.train_start("sammed3d", SETTINGS)
    state = finished(server)
    told = "\n".join(state["details"])  # type: ignore[arg-type]
    assert state["status"] == "DONE", told
    version = Registry(folder / "registry", "sammed3d_t", folder / "random3d.safetensors").serving()
    assert version is not None, told
    metrics = version.manifest.metrics
    assert sum(m["after"] for m in metrics.values()) > sum(m["before"] for m in metrics.values())
    deadline = time.monotonic() + 30
    answers = before["model_version"]
    while answers == before["model_version"] and time.monotonic() < deadline:
        _, facts = client.infer("sammed3d", "case0", click)
        answers = facts["model_version"]
    assert answers == version.model_version

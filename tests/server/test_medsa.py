"""Medical SAM Adapter as a model of the server: it answers, learns, and serves what it learned."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from monailabel.client import MONAILabelClient

from lib.imaging.volume import ReadLimits
from lib.options import AppOptions
from lib.server.infer import Samed2dInferTask
from lib.server.models import ModelSpec, NetworkChoice
from lib.server.served_model import ServedModel
from lib.server.volumes import VolumeStore
from tests.server.clicks import post_infer
from tests.server.test_training import CLICK, serve_study
from tests.support.server import RunningServer
from tests.support.studies import PLAIN

SLAB = 3
SECONDS = 800.0
"""For a training that goes behind everything else on a busy machine."""


def test_slices_of_a_slab_are_encoded_at_the_first_click(
    random_weights: Path, small_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    options = AppOptions(device="cpu", backend="torch", zoom="off", encode_ahead="off")
    model = ServedModel(NetworkChoice("medsa_t", random_weights, SLAB), options)
    spec = ModelSpec("medsa", "click", "Click.", 2, ("medsa_t",), SLAB)
    task = Samed2dInferTask(spec, options, model, VolumeStore(1 << 30, ReadLimits()))
    found = []
    for k in (1, 0, SLAB):
        _, facts = task({"image": str(small_study / f"{PLAIN}.nii.gz"), "foreground": [[5, 6, k]]})
        found.append(facts["encoded_before"])
        assert facts["backend"] == f"torch fp32, slabs of {SLAB}"
    assert found == [False, True, False]


@pytest.fixture(scope="module")
def taught(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[RunningServer, dict[str, Path]]]:
    folder = tmp_path_factory.mktemp("taught")
    with serve_study(folder, models="samed2d,medsa", architecture="medsa_t") as serving:
        yield serving


@pytest.mark.server
@pytest.mark.timeout(900)
def test_saved_labels_become_a_version_of_medsa(
    taught: tuple[RunningServer, dict[str, Path]],
) -> None:
    server, labels = taught
    client = MONAILabelClient(server.url)
    for image, path in labels.items():
        client.save_label(image, str(path), params={"label_info": [{"name": "disc", "idx": 1}]})
    before = server.info()["models"]
    assert before["medsa"]["architecture"] == "medsa_t"
    assert before["samed2d"]["architecture"] == "samed2d_t"
    mask = post_infer(server, CLICK, "case0", output="image", model="medsa").content

    # The gate has tests of its own; here random weights learn too little to be sure of it.
    settings = {"max_epochs": 1, "epoch_steps": 2, "train": "only_adapters", "publish": "force"}
    client.train_start("medsa", settings)
    deadline = time.monotonic() + SECONDS
    base = before["medsa"]["model_version"]
    while (version := server.info()["models"]["medsa"]["model_version"]) == base:
        assert time.monotonic() < deadline, server.log()[-3000:]
        time.sleep(0.5)
    assert version.startswith(f"{base}-v0001")
    assert post_infer(server, CLICK, "case0", output="image", model="medsa").content != mask
    after = server.info()
    assert after["models"]["samed2d"]["model_version"] == before["samed2d"]["model_version"]
    assert after["train_stats"]["medsa"]["train_part"] == "only_adapters"

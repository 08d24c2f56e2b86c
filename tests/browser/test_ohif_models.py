"""OHIF's panel Point Prompts with the models that are not served unless somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.imaging.volume import read_volume
from lib.inference.cache import ByteBoundedCache
from lib.inference.cube_network import CubeEmbedder, CubeNetwork
from lib.inference.cube_segmenter import CubeSegmenter
from lib.inference.worker import PriorityWorker
from lib.networks import build_model3d
from lib.networks.backends import TorchEncoder
from lib.networks.checkpoint import save_weights
from lib.prompts.voxel_prompt import VoxelPrompt
from tests.browser.ohif import OhifViewer, Voxel
from tests.browser.test_ohif_click import ORGAN, answered_mask, wait_until
from tests.support.browser import open_page
from tests.support.organs import CT_SERIES, organ_click, organ_mask
from tests.support.orthanc import RunningOrthanc
from tests.support.server import RunningServer, start_server

pytestmark = pytest.mark.browser

MODEL = "sammed3d"


def weights_that_answer(folder: Path, click: Voxel) -> Path:
    """Random weights; of the first seed whose answer to a click is neither nothing nor all."""
    volume = read_volume(CT_SERIES)
    for seed in range(20):
        torch.manual_seed(seed)
        model = build_model3d("sammed3d_t")
        embedder = CubeEmbedder(model, TorchEncoder(model), str(seed), ByteBoundedCache(1))
        network = CubeNetwork(model, embedder, ByteBoundedCache(1))
        segmenter = CubeSegmenter(network, PriorityWorker(), str(seed))
        mask = segmenter.segment(volume, VoxelPrompt((click,), (1,))).mask
        segmenter.worker.close()
        if 0.02 < mask.mean() < 0.9:
            save_weights(model, folder / "random3d.safetensors")
            return folder / "random3d.safetensors"
    raise AssertionError("no seed gives a mask")


@pytest.fixture(scope="module")
def click() -> Voxel:
    return organ_click(organ_mask(ORGAN))


@pytest.fixture(scope="module")
def server(
    pacs: RunningOrthanc, click: Voxel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Both families on that PACS."""
    weights = weights_that_answer(tmp_path_factory.mktemp("weights"), click)
    conf = {
        "models": f"samed2d,{MODEL}",
        "architecture": "sammed3d_t",
        "checkpoint": str(weights),
        "backend": "torch",
    }
    with start_server(pacs.dicom_web, conf=conf) as running:
        yield running


def test_one_click_is_painted_on_all_slices(
    pacs: RunningOrthanc, server: RunningServer, click: Voxel, tmp_path: Path
) -> None:
    with open_page(tmp_path / "browser") as page:
        viewer = OhifViewer(page, server.url)
        viewer.open_study_list()
        viewer.open_study(pacs.study_uids()[0])
        viewer.connect()
        viewer.enlarge()
        viewer.choose(MODEL, ORGAN)
        viewer.show(click)
        viewer.click(click)
        response = viewer.run(MODEL)
        assert response.status == 200
        answer = answered_mask(response, tmp_path) > 0
        assert len(np.flatnonzero(answer.any(axis=(0, 1)))) > 1
        wait_until(
            viewer,
            lambda: np.array_equal(viewer.painted() > 0, answer),
            "another mask than answered",
        )

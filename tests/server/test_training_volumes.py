"""Training a network for volumes over HTTP; what comes of it, tests/training/test_run3d.py says."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import requests
import torch

from lib.networks.architectures3d import find_architecture3d
from lib.networks.checkpoint import save_weights
from lib.networks.sam3d import build_sam3d
from tests.support.server import RunningServer, start_server
from tests.support.studies import write_small_study

pytestmark = pytest.mark.server

SECONDS = 240.0


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("volumes")
    torch.manual_seed(0)
    save_weights(build_sam3d(find_architecture3d("sammed3d_t")), folder / "random3d.safetensors")
    conf = {
        "models": "samed2d,sammed3d",
        "architecture": "sammed3d_t",
        "checkpoint": str(folder / "random3d.safetensors"),
        "backend": "torch",
        "labels": "ball",
    }
    with start_server(write_small_study(tmp_path_factory.mktemp("study")), conf=conf) as running:
        yield running


def finished(server: RunningServer) -> dict[str, object]:
    """The training as the server shows it when it has ended."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        running = requests.get(
            f"{server.url}/train/", params={"check_if_running": "true"}, timeout=60
        )
        state = requests.get(f"{server.url}/train/", timeout=60).json()
        if running.status_code == 404 and state["status"] not in ("SUBMITTED", "RUNNING"):
            return dict(state)
        time.sleep(0.5)
    raise AssertionError(f"no end of training within {SECONDS} s:\n{server.log()[-3000:]}")


def test_settings_of_slices_are_refused(server: RunningServer) -> None:
    shown = server.info()["trainers"]["sammed3d"]["config"]
    assert "adapter_init" not in shown and "max_minutes" in shown
    requests.post(f"{server.url}/train/sammed3d", json={"adapter_init": "keep"}, timeout=60)
    assert "adapter_init" in "\n".join(finished(server)["details"])  # type: ignore[arg-type]

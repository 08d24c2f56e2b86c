"""Versions over HTTP: which there are, and going back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.server.clicks import post_infer
from tests.support.server import RunningServer, start_server
from tests.support.studies import PLAIN
from tests.support.versions import publish_inverted

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def versioned(
    random_weights: Path, small_study: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server on one published version."""
    registry = tmp_path_factory.mktemp("registry")
    publish_inverted(registry, random_weights)
    conf = {
        "architecture": "samed2d_t",
        "checkpoint": str(random_weights),
        "registry": str(registry),
    }
    with start_server(small_study, conf=conf) as server:
        yield server


def answering(server: RunningServer) -> str:
    answer = post_infer(server, {"foreground": [[20, 26, 4]]}, PLAIN, output="json")
    return str(answer.json()["model_version"])


def choose(server: RunningServer, body: object, model: str = "samed2d") -> requests.Response:
    return requests.post(f"{server.url}/model_version/{model}", json=body, timeout=60)


def test_back_and_forth(versioned: RunningServer) -> None:
    address = f"{versioned.url}/model_version/samed2d"
    told = {"serving": "v0001", "versions": ["v0001"], "may_roll_back": True}
    assert requests.get(address, timeout=60).json() == told
    before = answering(versioned)
    assert choose(versioned, {"version": "previous"}).json() == {"serving": "base"}
    told |= {"serving": "base", "may_roll_back": False}
    assert requests.get(address, timeout=60).json() == told
    deadline = time.monotonic() + 60
    while answering(versioned) == before:
        assert time.monotonic() < deadline
    assert choose(versioned, {"version": "v0001"}).json() == {"serving": "v0001"}


@pytest.mark.parametrize(
    ("body", "model", "status", "said"),
    [
        ({"version": "v0009"}, "samed2d", 404, "v0001"),
        ({"version": 3}, "samed2d", 400, "previous"),
        ({}, "samed2d", 400, "none"),
        ({"version": "base", "force": True}, "samed2d", 400, "force"),
        ({"version": "base"}, "other", 404, "samed2d"),
    ],
)
def test_what_cannot_be_chosen_is_said(
    versioned: RunningServer, body: object, model: str, status: int, said: str
) -> None:
    answer = choose(versioned, body, model)
    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_random_weights_have_no_versions(server: RunningServer) -> None:
    """The shared server has a registry of its own, which is empty."""
    answer = requests.get(f"{server.url}/model_version/samed2d", timeout=60).json()
    assert answer == {"serving": "base", "versions": [], "may_roll_back": False}

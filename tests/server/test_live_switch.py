"""A running server follows the registry: published, rolled back, and nobody's click fails."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from requests_toolbelt.multipart.decoder import MultipartDecoder

from lib.networks.weights import version_of
from lib.training.registry import Registry
from tests.server.clicks import label_array, post_infer, read_answer
from tests.support.server import RunningServer, start_server
from tests.support.studies import PLAIN, write_small_study
from tests.support.versions import publish_inverted
from tests.support.waiting import wait_for

pytestmark = pytest.mark.server

CLICKERS = 3
CLICK = {"foreground": [[20, 20, 4]], "zoom": "off", "result_extension": ".nrrd"}


def model_info(server: RunningServer) -> dict[str, Any]:
    return dict(server.info()["models"]["samed2d"])


class Clickers:
    """Users who click all the time, and what they were answered."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self.end = threading.Event()
        self.answers: list[tuple[str, bytes]] = []
        self.refused: list[str] = []

    def click_on(self) -> None:
        while not self.end.is_set():
            answer = post_infer(self._server, CLICK, PLAIN, output="all")
            if answer.status_code != 200:
                self.refused.append(answer.text)
                continue
            self.answers.append(facts_and_mask(answer))

    def seen(self, version: str) -> bool:
        """Whether the last answers name a version."""
        return any(name == version for name, _ in self.answers[-CLICKERS:])


def facts_and_mask(answer: requests.Response) -> tuple[str, bytes]:
    """Version that answered, and the voxels of the mask."""
    parts = {
        "facts" if b'name="params"' in part.headers[b"Content-Disposition"] else "file": part
        for part in MultipartDecoder.from_response(answer).parts
    }
    mask = label_array(read_answer(parts["file"].content))
    return json.loads(parts["facts"].content)["model_version"], mask.tobytes()


def test_versions_are_exchanged_while_people_click(random_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    study = write_small_study(tmp_path / "study")
    folder = tmp_path / "registry"
    conf = {"architecture": "samed2d_t", "checkpoint": str(random_weights)}
    conf["registry"] = str(folder)
    base = version_of("samed2d_t", random_weights)
    with start_server(study, conf=conf) as server, ThreadPoolExecutor(CLICKERS) as pool:
        clickers = Clickers(server)
        tasks = [pool.submit(clickers.click_on) for _ in range(CLICKERS)]
        try:
            wait_for(lambda: clickers.seen(base), seconds=120, pause=0.1)
            assert model_info(server)["version"] is None
            version = publish_inverted(folder, random_weights)
            wait_for(lambda: clickers.seen(version.model_version), seconds=120, pause=0.1)
            info = model_info(server)
            assert info["model_version"] == version.model_version
            assert info["version"]["name"] == "v0001"
            assert info["version"]["metrics"] == {"1": {"before": 0.5, "after": 0.75}}
            assert info["version"]["created"] == version.manifest.created
            Registry(folder, "samed2d_t", random_weights).roll_back()
            wait_for(lambda: clickers.seen(base), seconds=120, pause=0.1)
        finally:
            clickers.end.set()
        for task in tasks:
            task.result()
    assert not clickers.refused
    masks: dict[str, set[bytes]] = {}
    for name, mask in clickers.answers:
        masks.setdefault(name, set()).add(mask)
    # One mask for each version, byte by byte, before and after; and they are not the same.
    assert set(masks) == {base, version.model_version}
    assert all(len(found) == 1 for found in masks.values())
    (before,), (after,) = masks[base], masks[version.model_version]
    assert np.frombuffer(before, np.uint8).any() and before != after

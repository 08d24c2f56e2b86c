"""How far a volume is, and an end to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from lib.server.volume_jobs import VolumeJobs
from tests.server.clicks import post_infer
from tests.support.organs import CT_NAME, organ_click, organ_mask
from tests.support.server import REPOSITORY, RunningServer, start_server


def test_a_job_counts_each_slice_once_and_is_gone_at_the_end() -> None:
    jobs = VolumeJobs()
    with jobs.job("me", 9) as job:
        for k in (5, 4, 5):
            job.answered(k)
        found = jobs.find("me")
        assert found is job
        assert found.progress().slices == (4, 5)
        assert found.progress().n_slices == 9
        assert jobs.find("you") is None
    assert jobs.find("me") is None


def test_a_newer_job_stays_when_the_older_one_ends() -> None:
    jobs = VolumeJobs()
    with jobs.job("me", 9):
        newer = jobs.job("me", 3)
        job = newer.__enter__()
    assert jobs.find("me") is job
    newer.__exit__(None, None, None)
    assert jobs.find("me") is None


def test_nobody_can_ask_for_a_job_without_a_name() -> None:
    jobs = VolumeJobs()
    with jobs.job(None, 9) as job:
        job.answered(1)
        assert jobs.find("") is None


@pytest.fixture(scope="module")
def ct_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    conf = {"encode_ahead": "off", "volume_seconds": "200"}
    with start_server(REPOSITORY / "sample-data" / "studies", conf=conf) as server:
        yield server


@pytest.mark.server
def test_a_client_takes_its_request_back(ct_server: RunningServer, tmp_path: Path) -> None:
    server = ct_server
    address = f"{server.url}/volume_job/me%20and%20you"
    assert requests.get(address, timeout=60).status_code == 404
    answers: list[requests.Response] = []
    point = list(organ_click(organ_mask("liver")))
    params = {"foreground": [point], "client_id": "me and you"}
    asking = threading.Thread(
        target=lambda: answers.append(post_infer(server, params, CT_NAME, "samed2d_volume"))
    )
    asking.start()
    deadline = time.monotonic() + 120
    while requests.get(address, timeout=60).status_code == 404 and not answers:
        assert time.monotonic() < deadline, server.log()[-2000:]
        time.sleep(0.01)
    progress = requests.get(address, timeout=60)
    cancelled = requests.delete(address, timeout=60)
    asking.join()
    assert cancelled.status_code == 200, "24 slices were answered between two questions"
    assert progress.json()["n_slices"] == 24
    assert answers[0].status_code == 409
    assert "took back" in answers[0].json()["detail"]
    assert requests.delete(address, timeout=60).status_code == 404

"""What the server does before it is asked: a faster encoder, and the slices beside the click."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib.networks.openvino_encoder import has_bf16
from tests.server.clicks import post_infer
from tests.support.organs import CT_NAME, SAMPLE_DATA, organ_click, organ_mask
from tests.support.server import RunningServer, start_server
from tests.support.waiting import wait_for

STUDIES = SAMPLE_DATA / "studies"
CONF = {"architecture": "samed2d_t"}
PREPARED = "openvino bf16" if has_bf16() else "openvino fp32"
pytestmark = pytest.mark.server


def model_info(server: RunningServer) -> dict[str, Any]:
    return dict(server.info()["models"]["samed2d"])


def click(server: RunningServer, k: int) -> dict[str, Any]:
    i, j, _ = organ_click(organ_mask("liver"))
    answer = post_infer(server, {"foreground": [[i, j, k]]}, CT_NAME, output="json")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_the_slices_beside_the_click_are_encoded_ahead() -> None:
    with start_server(STUDIES, conf=CONF) as server:
        first = click(server, 10)
        assert first["encoded_before"] is False
        assert first["encode_ahead"]["total"] == 24
        assert model_info(server)["encode_ahead"][0]["name"].startswith(CT_NAME)
        wait_for(
            lambda: not model_info(server)["encode_ahead"][0]["active"], seconds=240, pause=0.2
        )
        for k in (0, 11, 23):
            assert click(server, k)["encoded_before"] is True
        assert click(server, 11)["encode_ahead"] == {
            "done": 24,
            "total": 24,
            "slices": list(range(24)),
        }


def test_ahead_is_an_option() -> None:
    with start_server(STUDIES, conf={**CONF, "encode_ahead": "off"}) as server:
        assert click(server, 10)["encode_ahead"] is None
        assert model_info(server)["encode_ahead"] == []


def test_a_faster_encoder_takes_over_and_is_kept_for_the_next_start(tmp_path: Path) -> None:
    env = {"SAMED2D_BACKEND": "openvino", "SAMED2D_CACHE_DIR": str(tmp_path)}
    with start_server(STUDIES, conf=CONF, env=env) as server:
        early = click(server, 10)  # while it is being prepared, or just after
        wait_for(lambda: model_info(server)["encoder"] == PREPARED, seconds=240, pause=0.2)
        assert click(server, 12)["backend"] == PREPARED
        # Who began with the first encoder goes on with its embedding, and so with its masks.
        assert click(server, 10)["backend"] == early["backend"]
        prepared = list(tmp_path.glob("encoders/samed2d_t-*/model.xml"))
        assert len(prepared) == 1
    made = prepared[0].stat().st_mtime_ns
    with start_server(STUDIES, conf=CONF, env=env) as server:
        wait_for(lambda: model_info(server)["encoder"] == PREPARED, seconds=240, pause=0.2)
        assert click(server, 12)["encoded_before"] is True  # from the disk
        assert click(server, 13)["backend"] == PREPARED
    assert prepared[0].stat().st_mtime_ns == made

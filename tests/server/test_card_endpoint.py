"""The address under which a card is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lib.networks.model_card import card_path, write_card
from lib.networks.model_card_text import card_markdown
from lib.options import AppOptions
from lib.server import card_endpoint
from lib.server.card_endpoint import card_address, serve_cards
from lib.server.error_answers import answer_errors
from lib.server.models import NetworkChoice
from lib.server.served_model import ServedModel
from tests.support.cards import make_card, write_card_for
from tests.support.versions import publish_inverted

OPTIONS = AppOptions(device="cpu", backend="torch", embedding_disk_mb=0)


@pytest.fixture
def weights(random_weights: Path, tmp_path: Path) -> Path:
    path = tmp_path / "samed2d_t.safetensors"
    path.write_bytes(random_weights.read_bytes())
    return path


@pytest.fixture
def client(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    options = replace(OPTIONS, registry=tmp_path / "registry")
    served = ServedModel(NetworkChoice("samed2d_t", weights), options)
    untrained = ServedModel(NetworkChoice("samed2d_t", None), options)
    tasks = {
        "samed2d": SimpleNamespace(model=served),
        "noise": SimpleNamespace(model=untrained),
        "submit": SimpleNamespace(),
    }
    monkeypatch.setattr(card_endpoint, "app_instance", lambda: SimpleNamespace(_infers=tasks))
    server = FastAPI()
    answer_errors(server)
    serve_cards(server)
    return TestClient(server, raise_server_exceptions=False)


def test_a_card_is_answered_as_markdown(client: TestClient, weights: Path) -> None:
    card = write_card_for(weights)
    answer = client.get("/model_card/samed2d")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.text == card_markdown(card)


def test_a_version_that_serves_is_told(client: TestClient, weights: Path, tmp_path: Path) -> None:
    write_card_for(weights)
    publish_inverted(tmp_path / "registry", weights, False)
    text = client.get("/model_card/samed2d").text
    first = text.splitlines()[0]
    assert "-v0001-" in first and "serves, which was trained further from these weights" in first


@pytest.mark.parametrize("model", ["submit", "noise", "samed2d", "x" * 500, "..%2f..%2fREADME"])
def test_nothing_to_answer(client: TestClient, model: str) -> None:
    answer = client.get(f"/model_card/{model}")
    assert answer.status_code == 404
    assert len(answer.text) < 500


def test_a_card_of_other_weights(client: TestClient, weights: Path) -> None:
    write_card(make_card("0" * 64), card_path(weights))
    answer = client.get("/model_card/samed2d")
    assert answer.status_code == 500
    assert "of other weights" in answer.json()["detail"]


def test_the_address_is_given_only_where_there_is_a_card(weights: Path) -> None:
    assert card_address("samed2d", None) is None
    assert card_address("samed2d", weights) is None
    write_card_for(weights)
    assert card_address("samed2d", weights) == "/model_card/samed2d"


def test_the_route_is_made_once() -> None:
    server = FastAPI()
    before = len(server.routes)
    serve_cards(server)
    serve_cards(server)
    assert len(server.routes) == before + 1

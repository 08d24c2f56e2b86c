"""Which names in an address stand for a network."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lib.errors import NotFoundError
from lib.options import AppOptions
from lib.server.models import NetworkChoice
from lib.server.served_model import ServedModel
from lib.server.served_networks import served_network

OPTIONS = AppOptions(device="cpu", backend="torch", embedding_disk_mb=0)


@pytest.fixture
def network() -> ServedModel:
    return ServedModel(NetworkChoice("samed2d_t", None), OPTIONS)


@pytest.fixture
def app(network: ServedModel) -> SimpleNamespace:
    tasks = {"one": SimpleNamespace(model=network), "submit": SimpleNamespace()}
    return SimpleNamespace(_infers=tasks)


def test_a_network_by_its_model(app: SimpleNamespace, network: ServedModel) -> None:
    assert served_network(app, "one") is network


@pytest.mark.parametrize("model", ["submit", "two", ""])
def test_other_names_are_refused_with_those_there_are(app: SimpleNamespace, model: str) -> None:
    with pytest.raises(NotFoundError) as error:
        served_network(app, model)
    assert error.value.allowed == "one"


def test_a_long_name_is_cut(app: SimpleNamespace) -> None:
    with pytest.raises(NotFoundError) as error:
        served_network(app, "x" * 5000)
    assert len(str(error.value)) < 1000

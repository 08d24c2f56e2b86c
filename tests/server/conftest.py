"""What every test of the server leaves behind it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.server.delivery import Delivery
from tests.support.server import RunningServer, start_server
from tests.support.studies import write_small_study


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `host`; the only one in its folder."""
    return write_small_study(tmp_path_factory.mktemp("hosts study"))


@pytest.fixture(scope="session")
def host(
    study: Path, random_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server whose images may be changed, and that takes small files and small images only."""
    conf = {
        "architecture": "samed2d_t",
        "checkpoint": str(random_weights),
        "max_upload_mb": "5",
        "max_voxels": "1000000",
        "audit_log": str(tmp_path_factory.mktemp("log") / "audit.log"),
    }
    with start_server(study, conf=conf) as server:
        yield server


@pytest.fixture(autouse=True)
def no_delivery_outlives_its_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A label that a fake PACS never took would be tried again during the tests that follow."""
    begun: list[Delivery] = []
    follow = Delivery.follow

    def remember(delivery: Delivery) -> None:
        begun.append(delivery)
        follow(delivery)

    monkeypatch.setattr(Delivery, "follow", remember)
    yield
    for delivery in begun:
        delivery.close()

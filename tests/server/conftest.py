"""What every test of the server leaves behind it."""

from collections.abc import Iterator

import pytest

from lib.server.delivery import Delivery


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

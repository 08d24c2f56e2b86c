"""How scripts show a key to a server."""

from __future__ import annotations

import pytest
import requests

from lib.server import guard
from scripts._key import COOKIE, key_auth, key_cookies


def test_the_key_of_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMED2D_KEY", " samed2d_abc\n")
    session = requests.Session()
    session.auth = key_auth()
    sent = session.prepare_request(requests.Request("GET", "http://127.0.0.1/"))
    assert sent.headers["Authorization"] == "Bearer samed2d_abc"
    assert key_cookies("http://127.0.0.1:8000") == [
        {"name": guard.COOKIE, "value": "samed2d_abc", "url": "http://127.0.0.1:8000"}
    ]


def test_nothing_is_sent_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAMED2D_KEY", raising=False)
    assert key_auth() is None
    assert key_cookies("http://127.0.0.1:8000") == []


def test_the_cookie_is_the_servers() -> None:
    assert COOKIE == guard.COOKIE

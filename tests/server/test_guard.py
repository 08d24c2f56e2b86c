"""The gate itself: who counts as being at this computer, what a browser may be made to do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from lib.options import AppOptions
from lib.server.addresses import Address
from lib.server.api_keys import add_user
from lib.server.caller import CALLER
from lib.server.doorman import Doorman
from lib.server.guard import Guard, is_loopback
from lib.server.roles import Role


def address(template: str, *methods: str) -> Address:
    pattern = re.sub(r"\{\w+\}", "[^/]+", template)
    return Address(template, frozenset(methods), re.compile(f"^{pattern}$"))


ADDRESSES = (
    address("/health/none", "GET"),
    address("/info/", "GET"),
    address("/infer/{model}", "POST"),
    address("/auth/", "GET"),
    address("/datastore/label", "GET", "PUT", "DELETE"),
)


async def who(scope: Scope, receive: Receive, send: Send) -> None:
    caller = CALLER.get()
    await PlainTextResponse(f"{caller.name} {caller.role.title}")(scope, receive, send)


def ask(
    guard: Guard,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    client: str = "127.0.0.1",
    host: str = "127.0.0.1:8000",
) -> httpx.Response:
    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(guard, client=(client, 123))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as asking:
            return await asking.request(method, path, headers=dict(headers or {}))

    return asyncio.run(one())


@pytest.fixture
def open_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guard:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return Guard(who, ADDRESSES, Doorman(AppOptions()), ["https://viewer.example"])


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def closed(keys: Path) -> tuple[Guard, str]:
    key = add_user(keys, "anna", Role.ANNOTATOR)
    return Guard(who, ADDRESSES, Doorman(AppOptions(api_keys=keys))), key


def check(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert detail.startswith("Got: ")
    for word in words:
        assert word in detail


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "localhost:80", "[::1]:8000"])
def test_without_keys_this_computer_may_everything(open_guard: Guard, host: str) -> None:
    assert ask(open_guard, "DELETE", "/datastore/label", host=host).text == "admin admin"


@pytest.mark.parametrize("client", ["10.0.0.7", "2001:db8::1", "testclient", ""])
def test_without_keys_other_computers_may_nothing(open_guard: Guard, client: str) -> None:
    for path in ("/info/", "/auth/", "/nothing"):
        check(ask(open_guard, "GET", path, client=client), 403, "scripts/users.py")


@pytest.mark.parametrize(
    "host", ["elsewhere.example", "elsewhere.example:8000", "127.0.0.1.nip.io"]
)
def test_without_keys_only_names_of_this_computer(open_guard: Guard, host: str) -> None:
    check(ask(open_guard, "GET", "/info/", host=host), 403, "127.0.0.1")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_servers_change_nothing(open_guard: Guard, site: str) -> None:
    headers = {"Sec-Fetch-Site": site, "Origin": "https://elsewhere.example"}
    check(ask(open_guard, "PUT", "/datastore/label", headers), 403, "MONAI_LABEL_CORS_ORIGINS")
    named = headers | {"Origin": "https://viewer.example"}
    assert ask(open_guard, "PUT", "/datastore/label", named).status_code == 200
    for own in ("same-origin", "none"):
        answer = ask(open_guard, "PUT", "/datastore/label", {"Sec-Fetch-Site": own})
        assert answer.status_code == 200


def test_the_name_of_a_key_reaches_the_route(closed: tuple[Guard, str]) -> None:
    guard, key = closed
    for scheme in ("Bearer", "bearer"):
        headers = {"Authorization": f"{scheme} {key}"}
        assert ask(guard, "GET", "/info/", headers, client="10.0.0.7").text == "anna annotator"
    assert ask(guard, "GET", "/auth/", client="10.0.0.7").text == " anybody"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer samed2d_0_x"},
        {"Cookie": "samed2d_key="},
        {"Cookie": "other=1"},
        {"Cookie": 'samed2d_key="'},
        {"Cookie": "samed2d_key=x; ; =; a"},
    ],
)
def test_no_key_or_a_wrong_one(closed: tuple[Guard, str], headers: dict[str, str]) -> None:
    answer = ask(closed[0], "GET", "/info/", headers)
    check(answer, 401, "scripts/users.py")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_cookie_counts_for_our_own_pages_only(closed: tuple[Guard, str]) -> None:
    guard, key = closed
    cookie = {"Cookie": f"a=b; samed2d_key={key}"}
    assert ask(guard, "PUT", "/datastore/label", cookie).status_code == 200
    foreign = cookie | {"Sec-Fetch-Site": "cross-site"}
    check(ask(guard, "PUT", "/datastore/label", foreign), 403, "page of another server")
    # A header is something that a page has to know.
    header = {"Authorization": f"Bearer {key}", "Sec-Fetch-Site": "cross-site"}
    assert ask(guard, "PUT", "/datastore/label", header).status_code == 200


def test_a_role_that_does_not_suffice(closed: tuple[Guard, str]) -> None:
    guard, key = closed
    answer = ask(guard, "DELETE", "/datastore/label", {"Authorization": f"Bearer {key}"})
    check(answer, 403, "anna, who is annotator", "the role admin")


def test_addresses_that_do_not_exist(open_guard: Guard) -> None:
    check(ask(open_guard, "GET", "/nothing"), 404, "/docs")
    check(ask(open_guard, "POST", "/info/"), 405, "Allowed: GET")
    check(ask(open_guard, "GET", "/health/none"), 403, "without a role")
    answer = ask(open_guard, "GET", "/info?a=b")
    assert (answer.status_code, answer.headers["location"]) == (307, "/info/?a=b")


def test_keys_that_come_and_go_while_the_server_runs(closed: tuple[Guard, str], keys: Path) -> None:
    guard, key = closed
    headers = {"Authorization": f"Bearer {key}"}
    assert ask(guard, "GET", "/info/", headers).status_code == 200
    ben = {"Authorization": f"Bearer {add_user(keys, 'ben', Role.ADMIN)}"}
    assert ask(guard, "GET", "/info/", ben).text == "ben admin"
    text = keys.read_text()
    keys.write_text(text.replace('"anna"', '"anna'))
    check(ask(guard, "GET", "/info/", headers), 503, "log")
    keys.unlink()
    check(ask(guard, "GET", "/info/", headers), 503)
    check(ask(guard, "GET", "/info/", {}), 401)
    keys.touch(mode=0o600)
    keys.write_text(text)
    assert ask(guard, "GET", "/info/", headers).status_code == 200


def test_keys_that_are_made_while_the_server_runs_without(
    open_guard: Guard, tmp_path: Path
) -> None:
    assert ask(open_guard, "GET", "/info/").status_code == 200
    add_user(tmp_path / "samed2d" / "api-keys.json", "anna", Role.ANNOTATOR)
    check(ask(open_guard, "GET", "/info/"), 401)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("localhost.example", False),
        ("", False),
        ("127.1", False),
    ],
)
def test_loopback(host: str, here: bool) -> None:
    assert is_loopback(host) is here

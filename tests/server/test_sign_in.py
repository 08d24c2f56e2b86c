"""A real server with keys, as Slicer, a browser and a program sign in to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from monailabel.client import MONAILabelClient

from lib.server.api_keys import add_user, remove_user
from lib.server.audit import mark_of
from lib.server.roles import GIVEN, Role
from scripts import send_click
from tests.support.server import RunningServer, start_server
from tests.support.studies import PLAIN, write_small_study

pytestmark = pytest.mark.server


@dataclass(frozen=True)
class Locked:
    """A server with keys.

    Attributes:
        server: it.
        file: of the keys.
        keys: of one person in each role.
        audit: its audit log.
        study: the folder it serves.
    """

    server: RunningServer
    file: Path
    keys: dict[Role, str]
    audit: Path
    study: Path

    def ask(
        self, method: str, path: str, role: Role | None = None, **options: object
    ) -> requests.Response:
        headers = {} if role is None else {"Authorization": f"Bearer {self.keys[role]}"}
        return requests.request(
            method,
            self.server.url + path,
            headers=headers | dict(options.pop("headers", {})),  # type: ignore[call-overload]
            timeout=60,
            **options,  # type: ignore[arg-type]
        )

    def audit_lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.audit.read_text().splitlines()]


@pytest.fixture(scope="module")
def locked(random_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    folder = tmp_path_factory.mktemp("locked")
    (folder / "study").mkdir()
    study = write_small_study(folder / "study")
    file, audit = folder / "keys.json", folder / "audit.log"
    keys = {role: add_user(file, f"the {role.title}", role) for role in GIVEN}
    conf = {
        "architecture": "samed2d_t",
        "checkpoint": str(random_weights),
        "api_keys": str(file),
        "audit_log": str(audit),
    }
    with start_server(study, conf=conf, ready=401) as server:
        yield Locked(server, file, keys, audit, study)


def test_nobody_without_a_key(locked: Locked) -> None:
    for method, path in (("GET", "/info/"), ("PUT", "/datastore/label"), ("DELETE", "/train/")):
        answer = locked.ask(method, path)
        assert answer.status_code == 401
        assert "scripts/users.py" in answer.json()["detail"]
    assert locked.ask("GET", "/nothing").status_code == 404


def test_each_as_far_as_their_role_goes(locked: Locked) -> None:
    assert locked.ask("GET", "/info/", Role.ANNOTATOR).status_code == 200
    assert locked.ask("POST", "/train/samed2d", Role.ANNOTATOR, json={}).status_code == 403
    assert locked.ask("DELETE", "/train/", Role.TRAINER).status_code == 200
    assert locked.ask("GET", "/logs/", Role.TRAINER).status_code == 403
    assert locked.ask("GET", "/logs/", Role.ADMIN).status_code == 200
    assert locked.ask("GET", "/docs", Role.ANNOTATOR).status_code == 200


def test_as_slicer_signs_in(locked: Locked) -> None:
    client = MONAILabelClient(locked.server.url)
    assert client.auth_enabled()
    assert not client.auth_valid_token()
    token = client.auth_token("whoever", locked.keys[Role.ANNOTATOR])
    client.update_auth(token)
    assert client.auth_valid_token()
    assert client.info()["name"] == "SAM-Med2D"
    answer = locked.ask("POST", "/auth/token", data={"username": "a", "password": "wrong"})
    assert answer.status_code == 401
    assert "password" in answer.json()["detail"]


def test_as_a_browser_signs_in(locked: Locked) -> None:
    page = f"{locked.server.url}/login/"
    with requests.Session() as browser:
        assert "<form" in browser.get(page, timeout=60).text
        wrong = browser.post(page, data={"key": "wrong"}, timeout=60)
        assert wrong.status_code == 401
        assert "does not know this key" in wrong.text
        assert not browser.cookies
        data = {"key": locked.keys[Role.ANNOTATOR]}
        done = browser.post(page, data=data, timeout=60, allow_redirects=False)
        assert (done.status_code, done.headers["location"]) == (303, "/login/")
        for word in ("HttpOnly", "SameSite=lax", "Path=/"):
            assert word in done.headers["set-cookie"]
        assert "Expires" not in done.headers["set-cookie"]
        assert "signed in as the annotator (annotator)" in browser.get(page, timeout=60).text
        assert browser.get(f"{locked.server.url}/info/", timeout=60).status_code == 200
        said = browser.get(f"{locked.server.url}/auth/token/valid", timeout=60).json()
        assert said == {"username": "the annotator", "role": "annotator"}
        browser.post(f"{locked.server.url}/logout/", timeout=60)
        assert browser.get(f"{locked.server.url}/info/", timeout=60).status_code == 401
    assert locked.ask("GET", "/ohif/").status_code == 200


@pytest.mark.parametrize("viewer", ["/samed2d/annotate", "/ohif/monai-label"])
def test_a_page_of_a_viewer_asks_for_the_key_and_is_shown_after(
    locked: Locked, viewer: str
) -> None:
    address = f"{viewer}?StudyInstanceUIDs=1.2.3"
    with requests.Session() as browser:
        browser.headers["Accept"] = "text/html,application/xhtml+xml"
        asked = browser.get(locked.server.url + address, timeout=60)
        assert asked.url.startswith(f"{locked.server.url}/login/?back=")
        assert "Enter the key" in asked.text
        data = {"key": locked.keys[Role.ANNOTATOR]}
        done = browser.post(asked.url, data=data, timeout=60, allow_redirects=False)
        assert (done.status_code, done.headers["location"]) == (303, address)


def test_a_script_sends_the_key_of_its_environment(
    locked: Locked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    click = ["--server", locked.server.url, "--image", PLAIN, "--point", "20,20,4"]
    monkeypatch.delenv("SAMED2D_KEY", raising=False)
    assert send_click.main(click) == send_click.FAILED
    assert "401" in capsys.readouterr().err
    monkeypatch.setenv("SAMED2D_KEY", locked.keys[Role.ANNOTATOR])
    assert send_click.main(click) != send_click.FAILED
    assert "401" not in capsys.readouterr().err


def test_a_form_of_another_server_signs_nobody_in(locked: Locked) -> None:
    data = {"key": locked.keys[Role.ANNOTATOR]}
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://elsewhere.example"}):
        answer = locked.ask("POST", "/login/", data=data, headers=headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


def test_a_label_is_saved_under_the_name_of_the_key(locked: Locked) -> None:
    files = {"label": ("label.bin", bytes(40 * 52 * 9))}
    query = {"image": PLAIN, "tag": "original"}
    saved = locked.ask("PUT", "/datastore/label", Role.TRAINER, params=query, files=files)
    assert saved.status_code == 200, saved.text
    info = locked.ask("GET", "/datastore/", Role.TRAINER, params={"output": "all"}).json()
    assert info["objects"][PLAIN]["labels"]["original"]["info"]["user"] == "the trainer"


def test_a_key_that_is_taken_back_ends_at_once(locked: Locked) -> None:
    key = add_user(locked.file, "for a day", Role.ANNOTATOR)
    headers = {"Authorization": f"Bearer {key}"}
    assert locked.ask("GET", "/info/", headers=headers).status_code == 200
    remove_user(locked.file, "for a day")
    assert locked.ask("GET", "/info/", headers=headers).status_code == 401
    assert locked.ask("GET", "/info/", Role.ANNOTATOR).status_code == 200


def test_who_came_in_is_in_the_audit_log_and_no_key_is(locked: Locked) -> None:
    locked.ask("GET", "/info/", Role.ADMIN)
    locked.ask("GET", "/info/", headers={"Authorization": "Bearer wrong"})
    lines = locked.audit_lines()
    assert {"event": "signed in", "who": "the admin", "role": "admin"}.items() <= next(
        line for line in lines if line["who"] == "the admin"
    ).items()
    assert any(line["event"] == "sign-in refused" and line["who"] is None for line in lines)
    assert locked.audit.stat().st_mode & 0o777 == 0o600
    everything = locked.audit.read_text() + locked.server.log()
    for key in locked.keys.values():
        assert key.split("_", 2)[2] not in everything
    assert mark_of(PLAIN) != PLAIN

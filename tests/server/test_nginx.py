"""The documentation's nginx in front of a server: TLS, who asks, sizes, guessed keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from lib.server.api_keys import add_user
from lib.server.roles import Role
from tests.support.nginx import RunningNginx, start_nginx
from tests.support.server import RunningServer, start_server
from tests.support.studies import PLAIN, write_small_study

pytestmark = pytest.mark.server


@dataclass(frozen=True)
class Proxied:
    """A server with keys behind nginx, and a key of an annotator."""

    nginx: RunningNginx
    key: str

    def ask(self, method: str, path: str, **options: object) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        return requests.request(
            method,
            self.nginx.url + path,
            verify=str(self.nginx.certificate),
            timeout=60,
            **{"headers": headers, **options},  # type: ignore[arg-type]
        )


@pytest.fixture(scope="module")
def proxied(random_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    folder = tmp_path_factory.mktemp("proxied")
    (folder / "study").mkdir()
    study = write_small_study(folder / "study")
    file = folder / "keys.json"
    key = add_user(file, "anna", Role.ANNOTATOR)
    conf = {
        "architecture": "samed2d_t",
        "checkpoint": str(random_weights),
        "api_keys": str(file),
        "max_upload_mb": "5",
    }
    (folder / "nginx").mkdir()
    with (
        start_server(study, conf=conf, ready=401) as server,
        start_nginx(folder / "nginx", server.url) as nginx,
    ):
        yield Proxied(nginx, key)


def test_what_a_viewer_asks_goes_through(proxied: Proxied) -> None:
    answer = proxied.ask("GET", "/info/")
    assert answer.status_code == 200
    assert "max-age" in answer.headers["strict-transport-security"]
    click = {"params": (None, '{"foreground": [[20, 20, 4]], "background": []}')}
    mask = proxied.ask("POST", f"/infer/samed2d?image={PLAIN}&output=image", files=click)
    assert mask.status_code == 200, mask.text
    assert mask.content.startswith(b"NRRD")
    assert proxied.ask("GET", "/info/", headers={}).status_code == 401


def test_a_form_that_is_too_large_gets_the_servers_sentence(proxied: Proxied) -> None:
    files = {"label": ("label.bin", bytes(6 << 20))}
    answer = proxied.ask("PUT", f"/datastore/label?image={PLAIN}", files=files)
    assert answer.status_code == 413
    assert "max_upload_mb" in answer.json()["detail"]


def test_without_tls_one_is_led_to_it(proxied: Proxied) -> None:
    answer = requests.get(
        f"{proxied.nginx.plain_url}/samed2d/?x=1", allow_redirects=False, timeout=60
    )
    assert answer.status_code == 301
    assert answer.headers["location"] == "https://localhost/samed2d/?x=1"


def test_the_cookie_of_a_browser_is_for_tls_only(proxied: Proxied) -> None:
    trusted = {"verify": str(proxied.nginx.certificate), "timeout": 60}
    with requests.Session() as browser:
        browser.headers["Origin"] = proxied.nginx.url
        page = f"{proxied.nginx.url}/login/?back=/samed2d/"
        data = {"key": proxied.key}
        done = browser.post(page, data=data, allow_redirects=False, **trusted)
        assert (done.status_code, done.headers["location"]) == (303, "/samed2d/")
        assert "Secure" in done.headers["set-cookie"]
        assert browser.get(f"{proxied.nginx.url}/info/", **trusted).status_code == 200


def test_who_guesses_keys_is_slowed_down(proxied: Proxied) -> None:
    data = {"username": "x", "password": "samed2d_wrong"}
    said = [
        proxied.ask("POST", "/auth/token", data=data, headers={}).status_code for _ in range(14)
    ]
    assert said[0] == 401
    assert 429 in said


def test_a_server_without_keys_answers_nobody_behind_a_proxy(
    host: RunningServer, tmp_path: Path
) -> None:
    with start_nginx(tmp_path, host.url) as nginx:
        for header in (
            {"Host": "label.example"},
            {"Host": "label.example", "X-Forwarded-For": "::1"},
        ):
            answer = requests.get(
                f"{nginx.url}/info/", headers=header, verify=str(nginx.certificate), timeout=60
            )
            assert answer.status_code == 403
            assert "users.py" in answer.json()["detail"]

"""Tokens of an OpenID Connect realm, which a small server here plays over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from lib.errors import OptionError, UnavailableError
from lib.options import AppOptions
from lib.server import doorman as module
from lib.server import realm as realm_module
from lib.server.doorman import Doorman
from lib.server.roles import Role
from tests.support.issuer import Issuer, start_issuer


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with start_issuer() as running:
        yield running


@pytest.fixture
def realm(issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doorman:
    """A doorman that asks this issuer."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(module.settings, "MONAI_LABEL_AUTH_ENABLE", True)
    monkeypatch.setattr(module.settings, "MONAI_LABEL_AUTH_REALM_URI", issuer.address)
    return Doorman(AppOptions())


@pytest.mark.parametrize(
    ("roles", "role"),
    [
        (["monailabel-admin", "monailabel-user"], Role.ADMIN),
        (["monailabel-annotator"], Role.ANNOTATOR),
        (["monailabel-user"], Role.ANNOTATOR),
    ],
)
def test_a_valid_token(issuer: Issuer, realm: Doorman, roles: list[str], role: Role) -> None:
    assert realm.required
    caller = realm.try_token(issuer.token(roles))
    assert caller is not None
    assert (caller.name, caller.role, caller.host_roles) == ("anna", role, tuple(roles))
    assert realm.try_token(issuer.token(roles, azp=None, aud=["other", "monailabel-app"]))


IN_2001, IN_2100 = 1_000_000_000, 4_102_444_800
"""Seconds; the tests may run long after this file was read."""
WRONG: dict[str, dict[str, Any]] = {
    "over": {"exp": IN_2001},
    "without an end": {"exp": None},
    "of another realm": {"iss": "http://127.0.0.1:9/realms/other"},
    "for another program": {"azp": "other", "aud": "other"},
    "for no program": {"azp": None},
    "not yet valid": {"nbf": IN_2100},
    "of nobody": {"preferred_username": None},
    "of a number": {"preferred_username": 7},
    "with other roles": {"realm_access": {"roles": ["somebody"]}},
    "with roles of another form": {"realm_access": "monailabel-admin"},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_token_that_is(issuer: Issuer, realm: Doorman, what: str) -> None:
    assert realm.try_token(issuer.token(["monailabel-admin"])) is not None
    assert realm.try_token(issuer.token(["monailabel-admin"], **WRONG[what])) is None


def test_signatures_that_are_not_of_the_realm(issuer: Issuer, realm: Doorman) -> None:
    payload = jwt.decode(issuer.token(["monailabel-admin"]), options={"verify_signature": False})
    with start_issuer() as other:
        foreign = other.token(["monailabel-admin"], iss=issuer.address)
    header = {"kid": issuer.key_id}
    refused = [
        *("", "x", "a.b.c", foreign),
        jwt.encode(payload, "0" * 64, "HS256", headers=header),
        jwt.encode(payload, None, "none", headers=header),
        issuer.token(["monailabel-admin"])[:-4] + "AAAA",
    ]
    assert [realm.try_token(text) for text in refused] == [None] * len(refused)


def test_a_new_key_of_the_realm_is_found(
    issuer: Issuer, realm: Doorman, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = issuer.token(["monailabel-admin"])
    assert realm.try_token(old) is not None
    asked = issuer.asked
    issuer.new_key()
    new = issuer.token(["monailabel-admin"])
    assert realm.try_token(new) is None, "it was asked a moment ago"
    assert issuer.asked == asked
    monkeypatch.setattr(realm_module, "PAUSE_SECONDS", 0.0)
    assert realm.try_token(new) is not None
    assert realm.try_token(old) is None


def test_a_realm_that_does_not_answer(realm: Doorman, issuer: Issuer) -> None:
    token = issuer.token(["monailabel-admin"])
    issuer.silent = True
    with pytest.raises(UnavailableError, match="MONAI_LABEL_AUTH_REALM_URI"):
        realm.try_token(token)
    issuer.silent = False
    assert realm.try_token(token) is not None


def test_a_named_file_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"users\.py add"):
        Doorman(AppOptions(api_keys=tmp_path / "absent.json"))

"""Tokens of an OpenID Connect realm, with the host's check repaired."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import monailabel.endpoints.user.auth as host_auth
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lib.errors import OptionError, UnavailableError
from lib.options import AppOptions
from lib.server import doorman as module
from lib.server.doorman import Doorman, repair_token_check
from lib.server.roles import Role


def private_key() -> tuple[str, str]:
    """A new RSA key: private and public part as PEM."""
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


PRIVATE, PUBLIC = private_key()


@pytest.fixture
def realm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doorman:
    """A doorman that asks a realm with our key."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(module.settings, "MONAI_LABEL_AUTH_ENABLE", True)
    monkeypatch.setattr(host_auth, "get_public_key", lambda uri: PUBLIC)
    monkeypatch.setattr(host_auth, "jwt", host_auth.jwt)
    repair_token_check()
    return Doorman(AppOptions())


def token(roles: list[str], key: str = PRIVATE, algorithm: str = "RS256", **claims: Any) -> str:
    payload = {
        "preferred_username": "anna",
        "realm_access": {"roles": roles},
        "exp": time.time() + 60,
        **claims,
    }
    return jwt.encode(payload, key, algorithm=algorithm)


@pytest.mark.parametrize(
    ("roles", "role"),
    [
        (["monailabel-admin", "monailabel-user"], Role.ADMIN),
        (["monailabel-annotator"], Role.ANNOTATOR),
        (["monailabel-user"], Role.ANNOTATOR),
    ],
)
def test_a_valid_token(realm: Doorman, roles: list[str], role: Role) -> None:
    assert realm.required
    caller = realm.try_token(token(roles))
    assert caller is not None
    assert (caller.name, caller.role, caller.host_roles) == ("anna", role, tuple(roles))


def test_tokens_that_are_not_valid(realm: Doorman) -> None:
    other = private_key()[0]
    roles = ["monailabel-admin"]
    refused = [
        "",
        "x",
        "a.b.c",
        token(roles, exp=time.time() - 60),
        token(roles, other),
        token(["somebody"]),
        token(roles, "0" * 64, "HS256"),
        jwt.encode({"preferred_username": "anna"}, None, algorithm="none"),
    ]
    assert [realm.try_token(text) for text in refused] == [None] * len(refused)


def test_a_realm_that_does_not_answer(realm: Doorman, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(uri: str) -> str:
        raise requests.ConnectionError("refused")

    monkeypatch.setattr(host_auth, "get_public_key", away)
    with pytest.raises(UnavailableError, match="MONAI_LABEL_AUTH_REALM_URI"):
        realm.try_token(token(["monailabel-admin"]))


def test_a_named_file_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"users\.py add"):
        Doorman(AppOptions(api_keys=tmp_path / "absent.json"))

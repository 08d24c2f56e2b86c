"""Tokens of an OpenID Connect realm, checked here.

Of the host's check (0.8.5, endpoints/user/auth): ``jwt.decode`` is called without naming an
algorithm, which PyJWT refuses, so every token is answered with 401; the public key is taken from a
field that Keycloak alone has, and kept until the server ends; a token without an end is valid for
ever, and so is one that the realm made for another program.

Here keys come from where the realm says they are, and are asked for again when a token names a new
one. A token has a signature of one of them, an end, the realm as issuer, and was made for the
client ``MONAI_LABEL_AUTH_CLIENT_ID``.

Concurrency contract: ``_lock`` is held while the realm is asked, so many tokens ask once.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import jwt
import requests
from jwt import InvalidTokenError, PyJWKSet
from monailabel.config import settings

from lib.errors import UnavailableError

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
"""Those with a public key; a token cannot choose another kind."""
PAUSE_SECONDS = 10.0
"""The realm is not asked more often for keys that it does not have."""
LEEWAY_SECONDS = 10
"""Clocks may differ by so much."""


class Realm:
    """A sign-in service.

    Args:
        address: of the realm; its description lies below it, as OpenID Connect has it.
        client: the id of this server there.
    """

    def __init__(self, address: str, client: str) -> None:
        self._address, self._client = address.rstrip("/"), client
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._issuer = ""
        self._keys: dict[str | None, Any] = {}

    def claims(self, token: str) -> dict[str, Any]:
        """What a token says, after its check.

        Raises:
            InvalidTokenError: it is none of this realm, none for this server, or over.
            UnavailableError: the realm does not answer.
        """
        name = jwt.get_unverified_header(token).get("kid")
        key, issuer = self._key(name if isinstance(name, str) else None)
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=ALGORITHMS,
            issuer=issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iss"], "verify_aud": False},
        )
        if not self._is_for_us(claims):
            raise jwt.InvalidAudienceError("the token was made for another program")
        return claims

    def _is_for_us(self, claims: dict[str, Any]) -> bool:
        """Realms name the program in ``aud``, Keycloak in ``azp``."""
        audience = claims.get("aud")
        listed = audience if isinstance(audience, list) else [audience]
        return self._client in listed or claims.get("azp") == self._client

    def _key(self, name: str | None) -> tuple[Any, str]:
        """The key of a name, or the only one there is, and the issuer.

        Raises:
            InvalidTokenError: the realm has no such key.
            UnavailableError: it does not answer.
        """
        with self._lock:
            if name not in self._keys and time.monotonic() - self._asked > PAUSE_SECONDS:
                self._ask()
            key = self._keys.get(name)
            if key is None:
                raise InvalidTokenError("a signature by a key that the realm does not have")
            return key, self._issuer

    def _ask(self) -> None:
        try:
            described = _json(f"{self._address}/.well-known/openid-configuration")
            issuer, place = str(described["issuer"]), str(described["jwks_uri"])
            keys = PyJWKSet.from_dict(_json(place)).keys
        except (requests.RequestException, KeyError, ValueError, jwt.PyJWTError) as error:
            raise UnavailableError(
                got="no answer from the sign-in service, or one that names no keys",
                allowed="an OpenID Connect realm that answers",
                todo="check MONAI_LABEL_AUTH_REALM_URI and that the service runs",
            ) from error
        self._issuer, self._asked = issuer, time.monotonic()
        self._keys = {key.key_id: key for key in keys}
        if len(keys) == 1:
            self._keys[None] = keys[0]


def _json(address: str) -> dict[str, Any]:
    answer = requests.get(address, timeout=settings.MONAI_LABEL_AUTH_TIMEOUT)
    answer.raise_for_status()
    found = answer.json()
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def roles_of(claims: dict[str, Any]) -> list[str]:
    """The roles that a token names, where ``MONAI_LABEL_AUTH_TOKEN_ROLES`` says they stand."""
    found: Any = claims
    for part in settings.MONAI_LABEL_AUTH_TOKEN_ROLES.split("#"):
        found = found.get(part) if isinstance(found, dict) else None
    return [str(role) for role in found] if isinstance(found, list) else []


def name_of(claims: dict[str, Any]) -> str:
    """Whose token it is; "" where it does not say."""
    found = claims.get(settings.MONAI_LABEL_AUTH_TOKEN_USERNAME)
    return found if isinstance(found, str) else ""

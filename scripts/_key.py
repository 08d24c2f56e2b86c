"""The key that scripts show to a server that wants one."""

from __future__ import annotations

import os

from requests import PreparedRequest
from requests.auth import AuthBase

VARIABLE = "SAMED2D_KEY"
"""Environment variable with the key; on the command line other users of the computer could see it.
"""
COOKIE = "samed2d_key"
"""As `lib.server.guard` names it."""
HELP = f"A server with keys gets the one in the environment variable {VARIABLE}."


class KeyAuth(AuthBase):
    """Sends a key with each request.

    Args:
        key: of ``scripts/users.py``.
    """

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the header; requests leaves it out where it is led to another server."""
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def key_auth() -> KeyAuth | None:
    """For the argument ``auth`` of requests; None where there is no key."""
    key = os.environ.get(VARIABLE, "").strip()
    return KeyAuth(key) if key else None


def key_cookies(server: str) -> list[dict[str, str]]:
    """The same for a browser, as its sign-in page keeps the key.

    Args:
        server: address of the server.
    """
    key = os.environ.get(VARIABLE, "").strip()
    return [{"name": COOKIE, "value": key, "url": server}] if key else []

"""An OpenID Connect realm on the loopback: its description, its keys, and tokens it signs."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

PATH = "/realms/monailabel"


@dataclass
class Issuer:
    """A realm that answers.

    Attributes:
        address: of the realm.
        asked: requests so far.
        silent: it answers 500 to everything.
    """

    address: str
    asked: int = 0
    silent: bool = False

    def __post_init__(self) -> None:
        self.new_key()

    def new_key(self) -> None:
        """Sign with another key from now on, and forget the old one."""
        self._key = rsa.generate_private_key(65537, 2048)
        self.key_id = uuid.uuid4().hex

    def token(self, roles: list[str], **claims: Any) -> str:
        """A token of anna; claims that are None are left out."""
        payload = {
            "iss": self.address,
            "azp": "monailabel-app",
            "preferred_username": "anna",
            "realm_access": {"roles": roles},
            "exp": time.time() + 60,
            **claims,
        }
        payload = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(payload, self._key, "RS256", headers={"kid": self.key_id})

    def answer(self, path: str) -> dict[str, Any] | None:
        """What lies at a path."""
        self.asked += 1
        if self.silent:
            return None
        if path == f"{PATH}/.well-known/openid-configuration":
            return {"issuer": self.address, "jwks_uri": f"{self.address}/certs"}
        public = json.loads(RSAAlgorithm.to_jwk(self._key.public_key()))
        known = {**public, "kid": self.key_id, "use": "sig", "alg": "RS256"}
        return {"keys": [known]} if path == f"{PATH}/certs" else None


@contextlib.contextmanager
def start_issuer() -> Iterator[Issuer]:
    """Start one; it ends with the context."""
    issuer: Issuer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = issuer.answer(self.path)
            self.send_response(500 if found is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}{PATH}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()

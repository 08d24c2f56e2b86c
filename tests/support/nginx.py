"""Debian's nginx with the configuration of the documentation, as one process of the test's user.

Only what a test cannot have is exchanged: ports, the place of the certificate, and where the server
listens; each must stand in the file.
"""

from __future__ import annotations

import contextlib
import datetime
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.server import REPOSITORY, free_port

NGINX = Path("/usr/sbin/nginx")
CONFIGURATION = REPOSITORY / "docs" / "how-to" / "nginx.conf"
NAME = "label.example"
SECONDS = 30
_MAIN = """daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/samed2d.conf;
}}
"""


class NginxError(AssertionError):
    """It is not installed, did not start, or the documentation's file has changed."""


@dataclass(frozen=True)
class RunningNginx:
    """An nginx that answers.

    Attributes:
        url: with TLS, without a slash at the end.
        plain_url: without TLS.
        certificate: to trust.
    """

    url: str
    plain_url: str
    certificate: Path


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for `NAME` and 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / f"{NAME}.crt", folder / f"{NAME}.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, secret


@contextlib.contextmanager
def start_nginx(folder: Path, server_url: str) -> Iterator[RunningNginx]:
    """Start it in front of a server.

    Raises:
        NginxError: see there.
    """
    if not NGINX.exists():
        raise NginxError(f"not installed: {NGINX}; apt-get install --no-install-recommends nginx")
    certificate, secret = make_certificate(folder)
    plain, safe = free_port(), free_port()
    text = CONFIGURATION.read_text()
    for documented, ours in (
        ("127.0.0.1:8000;", server_url.removeprefix("http://") + ";"),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{safe} ssl;"),
        (f"/etc/nginx/tls/{NAME}.crt", str(certificate)),
        (f"/etc/nginx/tls/{NAME}.key", str(secret)),
    ):
        if text.count(documented) != 1:
            raise NginxError(
                f"{CONFIGURATION.name} has {text.count(documented)} times {documented}"
            )
        text = text.replace(documented, ours)
    (folder / "samed2d.conf").write_text(text)
    (folder / "main.conf").write_text(_MAIN.format(folder=folder))
    process = subprocess.Popen(
        [NGINX, "-p", folder, "-c", folder / "main.conf", "-e", folder / "error.log"]
    )
    try:
        _wait(plain, process, folder / "error.log")
        yield RunningNginx(f"https://localhost:{safe}", f"http://localhost:{plain}", certificate)
    finally:
        process.terminate()
        process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(requests.ConnectionError):
            requests.get(f"http://127.0.0.1:{port}/", timeout=5, allow_redirects=False)
            return
        time.sleep(0.05)
    raise NginxError(log.read_text() if log.exists() else "nginx ended")

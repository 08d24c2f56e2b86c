"""Licences, bill of materials, audit: of the real lock file, and of services made here."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom

from lib.errors import NotFoundError, OptionError
from lib.networks.checkpoint import sha256_of
from lib.networks.weights import WEIGHTS_FOLDER
from scripts import supply
from scripts._supply import audit
from scripts._supply.licences import UNKNOWN, is_permissive, licence_of
from scripts._supply.packages import read_packages, read_pins

ADVISORY = "PYSEC-2030-77"


def test_the_page_of_licences_is_of_the_lock_file(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    assert supply.main(["licences", "--out", str(page)]) == 0
    assert page.read_text() == supply.PAGE.read_text(), "python scripts/supply.py licences"


def test_every_package_has_a_licence() -> None:
    packages = read_packages(supply.LOCK)
    assert len(packages) == len(read_pins(supply.LOCK)) > 100
    assert [package.name for package in packages if package.licence == UNKNOWN] == []


def test_nothing_on_all_systems_is_proprietary_or_strong_copyleft() -> None:
    asking = [
        package for package in read_packages(supply.LOCK) if not is_permissive(package.licence)
    ]
    assert asking
    for package in asking:
        licence = package.licence.replace("LGPL", "").replace("BSD-3-Clause OR GPL-2.0-only", "")
        assert "GPL" not in licence
        assert "Proprietary" not in licence or package.only == "sys_platform == 'linux'"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"License-Expression": "MIT AND Zlib", "License": "other"}, "MIT AND Zlib"),
        ({"License": "Apache 2.0"}, "Apache-2.0"),
        (
            {"License": "Copyright\nMIT", "Classifier": "License :: OSI Approved :: MIT License"},
            "MIT",
        ),
        ({"License": "UNKNOWN", "Classifier": "License :: OSI Approved :: BSD License"}, "BSD"),
        ({"License": "Something of ours"}, "Something of ours"),
        ({"Classifier": "Topic :: Software"}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)
def test_what_packages_declare(fields: dict[str, str], expected: str) -> None:
    metadata = Message()
    for key, value in fields.items():
        metadata[key] = value
    assert licence_of("some-package", metadata) == expected


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("MIT", True),
        ("BSD", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("Apache-2.0 AND GPL-3.0-only", False),
        ("MIT AND (BSD-3-Clause OR GPL-2.0-only)", True),
        ("MPL-2.0", False),
        ("LGPL-2.1-or-later", False),
        ("LicenseRef-NVIDIA-Proprietary", False),
        (UNKNOWN, False),
    ],
)
def test_which_licences_ask_for_more(licence: str, expected: bool) -> None:
    assert is_permissive(licence) is expected


@pytest.mark.parametrize("line", ["numpy", "numpy>=1.26", "numpy>=1,==1.26.4"])
def test_a_line_that_pins_nothing_is_refused(tmp_path: Path, line: str) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text(f"{line}\n")
    with pytest.raises(NotFoundError, match="lines such as"):
        read_pins(lock)


@pytest.mark.parametrize("line", ["numpy==0.0.1", "no-such-package-at-all==1.0"])
def test_a_package_that_is_not_installed_is_named(
    tmp_path: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text(f"{line}\n")
    assert supply.main(["sbom", "--lock", str(lock), "--out", str(tmp_path / "out")]) == 1
    assert line.partition("==")[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_bill_of_materials_can_be_read_again(tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    assert supply.main(["sbom", "--out", str(file)]) == 0
    written = json.loads(file.read_text())
    assert written["specVersion"] == "1.6"
    bom = Bom.from_json(written)
    urls = {str(component.purl) for component in bom.components if component.purl}
    assert urls == {f"pkg:pypi/{p.name}@{p.version}" for p in read_packages(supply.LOCK)}
    (weights,) = (part for part in bom.components if part.name == "samed2d_t.safetensors")
    (hash_,) = weights.hashes
    assert hash_.content == sha256_of(WEIGHTS_FOLDER / "samed2d_t.safetensors")
    assert all(component.licenses for component in bom.components)


class Osv(BaseHTTPRequestHandler):
    """An OSV service that knows one vulnerability, of numpy."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        affected = {
            "package": {"name": "numpy", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
        }
        advisory = {"id": ADVISORY, "aliases": [], "details": "made", "affected": [affected]}
        known = asked["package"]["name"] == "numpy"
        answer = json.dumps({"vulns": [advisory]} if known else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Nothing to read."""


@pytest.fixture
def osv() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "some.lock"
    path.write_text("# made here\nnumpy==1.26.4\npydicom==2.4.5\n")
    return path


def use_exceptions(monkeypatch: pytest.MonkeyPatch, until: datetime.date) -> None:
    exception = audit.KnownException(ADVISORY, "numpy", "It is never called.", until)
    monkeypatch.setattr(supply, "read_exceptions", lambda: (exception,))


def test_an_audit_finds_what_the_service_knows(
    osv: str, lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert supply.main(["audit", "--lock", str(lock), "--osv-url", osv]) == 1
    said = capsys.readouterr().out
    assert f"numpy 1.26.4: {ADVISORY}, repaired in 99.0" in said
    assert "2 packages asked for, 1 vulnerabilities" in said


@pytest.mark.parametrize(("days", "holds"), [(1, True), (0, False), (-1, False)])
def test_an_exception_holds_until_its_day(days: int, holds: bool) -> None:
    day = datetime.date(2030, 1, 31)
    exception = audit.KnownException(ADVISORY, "numpy", "It is never called.", day)
    hold, over = audit.split_by_day([exception], day - datetime.timedelta(days))
    assert (hold, over) == (([exception], []) if holds else ([], [exception]))


@pytest.mark.parametrize(("year", "code"), [(9999, 0), (2020, 1)])
def test_an_exception_is_left_out_of_an_audit_while_it_holds(
    osv: str, lock: Path, monkeypatch: pytest.MonkeyPatch, year: int, code: int
) -> None:
    use_exceptions(monkeypatch, datetime.date(year, 1, 1))
    assert supply.main(["audit", "--lock", str(lock), "--osv-url", osv]) == code


def test_an_audit_of_a_service_that_is_away_is_no_clean_one(
    lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    away = "http://127.0.0.1:9/v1/query"
    assert supply.main(["audit", "--lock", str(lock), "--osv-url", away]) == 3
    assert "check the connection" in capsys.readouterr().err


def test_packages_that_the_service_does_not_know_are_no_clean_ones(
    lock: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    skipped = {"name": "numpy", "skip_reason": "Dependency not found on PyPI"}
    clean = {"name": "pydicom", "version": "2.4.5", "vulns": []}
    found = audit._findings([skipped, clean])
    monkeypatch.setattr(supply, "audit", lambda *_: found)
    assert supply.main(["audit", "--lock", str(lock)]) == 3
    said = capsys.readouterr()
    assert "1 packages asked for" in said.out
    assert "1 packages are not known" in said.err


@pytest.mark.parametrize(
    "text",
    [
        "[[exception]]\nid = 'A-1'",
        "[[exception]]\nid = 'A-1'\npackage = 'x'\nreason = ''\nuntil = 2030-01-01",
        "[[exception]]\nid = 'A-1'\npackage = 'x'\nreason = 'y'\nuntil = 'soon'",
        "[[exception]]\nid = 1\npackage = 'x'\nreason = 'y'\nuntil = 2030-01-01",
        "[exception]\nid = 'A-1'",
        "no toml",
    ],
)
def test_exceptions_without_reason_or_day_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "exceptions.toml"
    file.write_text(text)
    with pytest.raises(OptionError):
        audit.read_exceptions(file)


def test_the_exceptions_of_the_repository_can_be_read() -> None:
    assert all(exception.reason for exception in audit.read_exceptions())

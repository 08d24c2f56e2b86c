"""scripts/get_viewer.py, with a small package, a server on the loopback and an npm of our own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lib.networks import download
from lib.server import viewer_build
from lib.server.viewer_build import ViewerPackage, installed_build
from scripts import _fetching, get_viewer
from tests.support.file_server import serve_files
from tests.support.ohif_package import write_package


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ViewerPackage:
    made = write_package(tmp_path / "ohif.tgz")
    monkeypatch.setattr(get_viewer, "OHIF", made)
    defaults = (viewer_build.BUILD_FOLDER, made, *viewer_build.install_build.__defaults__[2:])
    monkeypatch.setattr(viewer_build.install_build, "__defaults__", defaults)
    return made


def run(tmp_path: Path, *arguments: str) -> int:
    return get_viewer.main(["--dest", str(tmp_path / "dest"), *arguments])


def own_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    """Put a program npm first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{does}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_from_a_file_once(
    package: ViewerPackage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "ohif.tgz")
    assert run(tmp_path, "--from-file", file) == 0
    assert installed_build(tmp_path / "dest") == package.spec
    assert run(tmp_path, "--from-file", file) == 0
    assert "already installed" in capsys.readouterr().out
    (tmp_path / "dest" / "index.html").write_text("broken")
    assert run(tmp_path, "--from-file", file, "--force") == 0
    assert "samed2d" in (tmp_path / "dest" / "index.html").read_text()


def test_another_file_is_refused(
    package: ViewerPackage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.tgz"
    file.write_bytes(b"something else")
    assert run(tmp_path, "--from-file", str(file)) == _fetching.REFUSED
    assert package.sha256 in capsys.readouterr().err
    assert run(tmp_path, "--from-file", str(tmp_path / "none")) == _fetching.UNREACHABLE


def test_npm_fetches_it_where_there_is_one(
    package: ViewerPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_npm(tmp_path, monkeypatch, f'test "$2" = "{package.spec}" && cp {tmp_path}/ohif.tgz "$5"')
    assert run(tmp_path) == 0
    assert installed_build(tmp_path / "dest") == package.spec


def test_what_npm_says_is_passed_on(
    package: ViewerPackage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own_npm(tmp_path, monkeypatch, "echo no registry >&2; exit 1")
    assert run(tmp_path) == _fetching.UNREACHABLE
    assert "no registry" in capsys.readouterr().err


def test_without_npm_it_is_downloaded(
    package: ViewerPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_viewer.shutil, "which", lambda name: None)
    with serve_files(**{"ohif.tgz": (tmp_path / "ohif.tgz").read_bytes()}) as served:
        monkeypatch.setattr(ViewerPackage, "url", f"{served.url}/ohif.tgz")
        assert run(tmp_path) == 0
    assert installed_build(tmp_path / "dest") == package.spec


def test_without_a_connection_it_says_so(
    package: ViewerPackage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(get_viewer.shutil, "which", lambda name: None)
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(ViewerPackage, "url", "http://127.0.0.1:9/ohif.tgz")
    assert run(tmp_path) == _fetching.UNREACHABLE
    assert "no download" in capsys.readouterr().err


def test_help_tells_how_to_do_without_internet() -> None:
    done = subprocess.run(
        [sys.executable, get_viewer.__file__, "--help"], capture_output=True, text=True, check=True
    )
    assert "npm pack @ohif/app@" in done.stdout

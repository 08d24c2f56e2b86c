"""Installing the OHIF build from its package."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.errors import CheckpointError
from lib.server.viewer_build import OHIF, install_build, installed_build
from tests.support.ohif_package import FILES, write_package


@pytest.fixture
def tarball(tmp_path: Path) -> Path:
    return tmp_path / "ohif.tgz"


def test_the_build_is_unpacked_and_lives_below_our_address(tarball: Path, tmp_path: Path) -> None:
    package, folder, sizes = write_package(tarball), tmp_path / "viewer" / "ohif", list[int]()
    assert installed_build(folder) is None
    install_build(tarball, folder, package, progress=sizes.append)
    assert installed_build(folder) == "@ohif/app@0.0.1"
    page = (folder / "index.html").read_text()
    assert 'PUBLIC_URL="/samed2d/"' in page
    assert 'src="/samed2d/app-config.js"' in page
    assert 'href="//elsewhere"' in page
    for bundle in folder.glob("*.bundle.*.js"):
        assert bundle.read_text() == '__webpack_require__.p = "/samed2d/";'
    assert (folder / "app.bundle.css").read_text() == "src: url(/samed2d/font.woff2)"
    assert "/samed2d/assets/icon.png" in (folder / "manifest.json").read_text()
    assert (folder / "LICENSE").read_text() == "MIT"
    for unwanted in ("ort", "sw.js", "app-config.js", "package.json"):
        assert not (folder / unwanted).exists()
    assert len(sizes) == 7
    assert [path.name for path in folder.parent.iterdir()] == ["ohif"]


def test_another_file_is_refused(tarball: Path, tmp_path: Path) -> None:
    write_package(tarball)
    with pytest.raises(CheckpointError, match=rf"SHA-256.*{OHIF.version}.*npm pack"):
        install_build(tarball, tmp_path / "ohif")
    assert not (tmp_path / "ohif").exists()


@pytest.mark.parametrize("missing", ["index.html", "manifest.json", "app.bundle.css"])
def test_a_build_made_in_another_way_is_refused_and_the_old_one_stays(
    tarball: Path, tmp_path: Path, missing: str
) -> None:
    folder = tmp_path / "ohif"
    install_build(tarball, folder, write_package(tarball))
    other = {name: text for name, text in FILES.items() if not name.endswith(missing)}
    package = write_package(tarball, other)
    with pytest.raises(CheckpointError, match="install that version"):
        install_build(tarball, folder, package)
    assert installed_build(folder) == "@ohif/app@0.0.1"
    assert (folder / missing).exists()
    assert {path.name for path in tmp_path.iterdir()} == {"ohif", "ohif.tgz"}


def test_files_stay_within_the_folder(tarball: Path, tmp_path: Path) -> None:
    package = write_package(tarball, {**FILES, "package/dist/../../../evil": "x"})
    with pytest.raises(Exception, match="outside"):
        install_build(tarball, tmp_path / "deep" / "er" / "ohif", package)
    assert not list(tmp_path.rglob("evil"))

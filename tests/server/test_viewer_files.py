"""What the server answers under /samed2d/."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lib.server.error_answers import answer_errors
from lib.server.viewer_build import VIEWER_FOLDER, install_build
from lib.server.viewer_files import ViewerFiles, serve_viewer
from tests.support.ohif_package import write_package


def client(build: Path) -> TestClient:
    server = FastAPI()
    answer_errors(server)
    server.mount("/samed2d", ViewerFiles(VIEWER_FOLDER, build))
    return TestClient(server)


@pytest.fixture
def viewer(tmp_path: Path) -> TestClient:
    package = write_package(tmp_path / "ohif.tgz")
    install_build(tmp_path / "ohif.tgz", tmp_path / "ohif", package)
    return client(tmp_path / "ohif")


def test_pages_files_and_our_own_parts(viewer: TestClient) -> None:
    page = viewer.get("/samed2d/").text
    assert "/samed2d/app.bundle" in page
    assert viewer.get("/samed2d/annotate?StudyInstanceUIDs=1.2.3").text == page
    bundle = viewer.get("/samed2d/app.bundle.0123456789abcdef.js")
    assert bundle.headers["content-type"].startswith("text/javascript")
    assert "defaultDataSourceName" in viewer.get("/samed2d/app-config.js").text
    own = viewer.get("/samed2d/annotator/extension.js")
    assert "OHIF extension" in own.text
    assert own.headers["cache-control"] == "no-cache"
    again = viewer.get(
        "/samed2d/annotator/extension.js", headers={"If-None-Match": own.headers["etag"]}
    )
    assert again.status_code == 304


@pytest.mark.parametrize(
    "path", ["none.js", "annotator/none.js", "annotator/../../main.py", "annotator/%2e%2e/ohif"]
)
def test_what_is_no_file_of_the_viewer_is_not_found(viewer: TestClient, path: str) -> None:
    answer = viewer.get(f"/samed2d/{path}")
    assert answer.status_code == 404 or "root" in answer.text or "PUBLIC_URL" in answer.text
    assert "Samed2dApp" not in answer.text


def test_without_the_build_a_sentence_says_what_to_do(tmp_path: Path) -> None:
    answer = client(tmp_path / "nothing").get("/samed2d/annotate")
    assert answer.status_code == 404
    assert "scripts/get_viewer.py" in answer.json()["detail"]


def test_it_is_added_once() -> None:
    server = FastAPI()
    serve_viewer(server)
    count = len(server.routes)
    serve_viewer(server)
    assert len(server.routes) == count
    answer = TestClient(server).get("/samed2d", follow_redirects=False)
    assert answer.headers["location"] == "/samed2d/"

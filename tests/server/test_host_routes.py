"""The host's own routes on a real server: what they take, and that all else is a sentence."""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.server.clicks import post_infer
from tests.support.server import RunningServer
from tests.support.studies import OBLIQUE, PLAIN

pytestmark = pytest.mark.server

NO_SESSION = "8d3c0b66-aaaa-11ef-8000-0242ac120002"
IMAGE = "/datastore/image"
INFO = "/datastore/image/info"
LABEL = "/datastore/label"
LABEL_INFO = "/datastore/label/info"


def ask(server: RunningServer, method: str, path: str, **options: Any) -> requests.Response:
    return requests.request(method, server.url + path, timeout=60, **options)


def check(answer: requests.Response, status: int, *words: str) -> None:
    """A sentence of ours with this status."""
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert detail.startswith("Got: ")
    assert "Allowed: " in detail
    assert "Traceback" not in detail
    for word in words:
        assert word in detail


def image_file(study: Path, image: str = PLAIN) -> bytes:
    (path,) = study.glob(f"{image}.nii*")
    return path.read_bytes()


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# --- Images


def test_an_image_comes_and_goes(host: RunningServer, study: Path) -> None:
    file = {"file": ("scan.nii.gz", image_file(study))}
    added = ask(host, "PUT", IMAGE, params={"image": "new one"}, files=file)
    assert added.json() == {"image": "new one"}
    got = ask(host, "GET", IMAGE, params={"image": "new one"})
    assert got.content == image_file(study)
    again = ask(host, "PUT", "/datastore/", params={"image": "new one"}, files=file)
    check(again, 400, "an image has")
    assert post_infer(host, {"foreground": [[20, 17, 5]]}, "new one").status_code == 200
    assert ask(host, "DELETE", IMAGE, params={"id": "new one"}).json() == {}
    assert not (study / "new one.nii.gz").exists()
    check(ask(host, "DELETE", "/datastore/", params={"id": "new one"}), 404, "new one")


@pytest.mark.parametrize(
    "image",
    ["../x", "..", ".", "/etc/x", "a/b", "a\\b", "a\x00b", "a\nb", " ", "x.nii.gz", "x" * 201, "-"],
)
def test_ids_that_new_images_cannot_have(host: RunningServer, study: Path, image: str) -> None:
    before = files_of(study.parent)
    file = {"file": ("scan.nii.gz", image_file(study))}
    check(ask(host, "PUT", IMAGE, params={"image": image}, files=file), 400, "image id")
    assert files_of(study.parent) == before


@pytest.mark.parametrize("name", ["a.zip", "a.dcm", "a.tar.gz", "a.exe", "nii.gz", "a.npz", "a"])
def test_files_that_are_no_images_by_name(host: RunningServer, name: str) -> None:
    check(ask(host, "PUT", IMAGE, files={"file": (name, b"x")}), 415, ".nrrd")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.png", "a.jpg"])
def test_files_that_are_no_images_inside(host: RunningServer, study: Path, name: str) -> None:
    before = files_of(study)
    check(ask(host, "PUT", IMAGE, files={"file": (name, b"not an image")}), 415)
    assert files_of(study) == before


@pytest.mark.parametrize(
    "params", ["{", "[]", "3", '{"path": "/etc"}', '{"client_id": [1]}', "[" * 50_000]
)
def test_facts_that_are_none(host: RunningServer, study: Path, params: str) -> None:
    file = {"file": ("scan.nii.gz", image_file(study))}
    answer = ask(host, "PUT", IMAGE, params={"image": "f"}, data={"params": params}, files=file)
    check(answer, 400, "client_id")
    check(ask(host, "PUT", INFO, params={"image": PLAIN}, data={"info": params}), 400, "client_id")


def test_facts_about_an_image(host: RunningServer) -> None:
    image = {"image": OBLIQUE}
    answer = ask(host, "PUT", INFO, params=image, data={"info": '{"comment": "blurred"}'})
    assert answer.json() == {}
    assert ask(host, "GET", INFO, params=image).json()["comment"] == "blurred"


@pytest.mark.parametrize("image", ["", "..", "../x", "/etc/passwd", "a\x00", "x" * 2000])
def test_ids_that_no_image_can_have(host: RunningServer, image: str) -> None:
    for method, path, key in (
        ("GET", IMAGE, "image"),
        ("DELETE", IMAGE, "id"),
        ("GET", INFO, "image"),
        ("PUT", INFO, "image"),
    ):
        check(ask(host, method, path, params={key: image}), 400)


def test_images_that_nobody_has(host: RunningServer) -> None:
    for method, path, key in (
        ("GET", IMAGE, "image"),
        ("DELETE", IMAGE, "id"),
        ("GET", INFO, "image"),
        ("PUT", INFO, "image"),
    ):
        check(ask(host, method, path, params={key: "unknown"}), 404, "unknown")


def test_checksums(host: RunningServer, study: Path) -> None:
    def status(check_sum: str) -> int:
        image = {"image": PLAIN, "check_sum": check_sum}
        return ask(host, "HEAD", IMAGE, params=image).status_code

    data = image_file(study)
    right = hashlib.sha256(data).hexdigest()
    assert status(right) == status(f"SHA256:{right}") == 200
    assert status(f"MD5:{hashlib.md5(data).hexdigest()}") == 200
    assert status("0" * 64) == 404
    assert status("CRC:1") == status("x:y:z") == 400


def test_a_link_to_a_file_elsewhere_is_not_followed_to_remove_it(
    host: RunningServer, study: Path, tmp_path: Path
) -> None:
    target = tmp_path / "kept.nii.gz"
    target.write_bytes(image_file(study))
    (study / "linked.nii.gz").symlink_to(target)
    for _ in range(100):
        if "linked" in ask(host, "GET", "/datastore/", params={"output": "all"}).text:
            break
    else:
        ask(host, "POST", "/reload")
    check(ask(host, "DELETE", IMAGE, params={"id": "linked"}), 400, "linked into")
    assert target.exists()
    (study / "linked.nii.gz").unlink()


# --- Labels


def test_facts_about_a_label(host: RunningServer) -> None:
    query = {"label": OBLIQUE, "tag": "original"}
    click = {"foreground": [[10, 10, 2]], "save_label": True, "label_tag": "original"}
    assert post_infer(host, click, OBLIQUE, output="json").status_code == 200
    info = json.dumps({"label_info": [{"name": "liver", "idx": 1}], "comment": "unsure"})
    assert ask(host, "PUT", LABEL_INFO, params=query, data={"info": info}).json() == {}
    assert ask(host, "GET", LABEL_INFO, params=query).json()["comment"] == "unsure"
    old = ask(host, "PUT", "/datastore/updatelabelinfo", params=query, data={"params": "{}"})
    assert old.json() == {}
    archive = ask(host, "GET", "/datastore/dataset")
    check(archive, 404, "save a label first")  # nobody stands behind it
    gone = ask(host, "DELETE", LABEL, params={"id": OBLIQUE, "tag": "original"})
    assert gone.json() == {}
    check(ask(host, "DELETE", LABEL, params={"id": OBLIQUE, "tag": "original"}), 404)


@pytest.mark.parametrize(
    ("label", "tag", "status"),
    [
        ("../x", "final", 400),
        ("", "final", 400),
        (PLAIN, "../..", 400),
        (PLAIN, "a/b", 400),
        (PLAIN, "no such tag", 400),
        (PLAIN, "unknown", 404),
        ("unknown", "final", 404),
    ],
)
def test_labels_that_do_not_exist(host: RunningServer, label: str, tag: str, status: int) -> None:
    query = {"label": label, "tag": tag}
    check(ask(host, "PUT", LABEL_INFO, params=query, data={"info": "{}"}), status)
    check(ask(host, "DELETE", LABEL, params={"id": label, "tag": tag}), status)
    if status == 400:
        check(ask(host, "GET", LABEL_INFO, params=query), status)


@pytest.mark.parametrize(
    "info", ["{", "[]", '{"ext": ".exe"}', '{"label_info": 3}', '{"prompts": "many"}']
)
def test_facts_that_no_label_has(host: RunningServer, info: str) -> None:
    query = {"label": PLAIN, "tag": "final"}
    check(ask(host, "PUT", LABEL_INFO, params=query, data={"info": info}), 400)


def test_the_dataset(host: RunningServer, study: Path) -> None:
    check(ask(host, "GET", "/datastore/dataset", params={"limit_cases": 0}), 400, "limit_cases")
    shape = {"label": ("label.bin", bytes(40 * 52 * 9))}
    assert ask(host, "PUT", LABEL, params={"image": PLAIN}, files=shape).status_code == 200
    archive = ask(host, "GET", "/datastore/dataset")
    names = zipfile.ZipFile(io.BytesIO(archive.content)).namelist()
    assert any(PLAIN in name for name in names)
    deadline = time.monotonic() + 30
    while any(zipfile.is_zipfile(path) for path in (host.home / "tmp").iterdir()):
        assert time.monotonic() < deadline, "the archive is still there"
        time.sleep(0.05)


# --- Sessions


def test_a_session(host: RunningServer, study: Path) -> None:
    file = [("files", ("../../evil/scan.nii.gz", image_file(study)))]
    made = ask(host, "PUT", "/session/", files=file)
    assert made.status_code == 200, made.text
    session = made.json()["session_id"]
    assert made.json()["session_info"]["image"].endswith("image0000.nii.gz")
    click = post_infer(host, {"foreground": [[20, 17, 5]]}, None, session_id=session)
    assert click.status_code == 200
    image = ask(host, "GET", f"/session/{session}", params={"image": "true"})
    assert image.content == image_file(study)
    assert ask(host, "DELETE", f"/session/{session}").status_code == 200
    check(ask(host, "GET", f"/session/{session}"), 404, session)


@pytest.mark.parametrize(
    ("query", "name", "status"),
    [
        ({"uncompress": "true"}, "a.nii.gz", 400),
        ({"expiry": "-1"}, "a.nii.gz", 400),
        ({"expiry": "99999999"}, "a.nii.gz", 400),
        ({}, "a.zip", 415),
        ({}, "a.tar", 415),
        ({}, "DICOMDIR", 415),
        ({}, "a.pt", 415),
    ],
)
def test_sessions_that_are_refused(
    host: RunningServer, query: dict[str, str], name: str, status: int
) -> None:
    files = [("files", (name, b"x"))]
    before = set((host.home / "sessions").iterdir())
    check(ask(host, "PUT", "/session/", params=query, files=files), status)
    assert set((host.home / "sessions").iterdir()) == before


@pytest.mark.parametrize("session", [NO_SESSION, "x", "..%2f..", "%00"])
def test_sessions_that_do_not_exist(host: RunningServer, session: str) -> None:
    for method in ("GET", "DELETE"):
        answer = ask(host, method, f"/session/{session}")
        assert answer.status_code in (404, 405)
        assert "Got: " in answer.json()["detail"]


# --- Work that takes long


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        ("/train/unknown", {}, 404, "samed2d"),
        ("/train/samed2d", {"epochs": 3}, 400, "max_epochs"),
        ("/train/samed2d", {"max_epochs": "many"}, 400, "max_epochs"),
        ("/train/samed2d", {"bundle_path": "/tmp"}, 400, "bundle_path"),
        ("/train/samed2d", {"gpus": "0; ls"}, 400, "gpus"),
        ("/train/samed2d", {"model": "other"}, 400, "model"),
        ("/train/samed2d?run_sync=true", {}, 400, "run_sync"),
        ("/train/", {"samed2d": 3}, 400, "JSON object"),
        ("/train/", {"max_epochs": -1}, 400, "max_epochs"),
        ("/train/?run_sync=true", {}, 400, "run_sync"),
        ("/batch/infer/unknown", {}, 404, "samed2d"),
        ("/batch/infer/samed2d", {"bundle_path": "/tmp"}, 400, "bundle_path"),
        ("/batch/infer/samed2d", {"images": ["all"]}, 400, "unlabeled"),
        ("/batch/infer/samed2d", {"max_batch_size": "x"}, 400, "max_batch_size"),
        ("/batch/infer/samed2d", {"model": "other"}, 400, "model"),
        ("/batch/infer/samed2d?run_sync=true", {}, 400, "run_sync"),
        ("/scoring/unknown", {}, 404, "none"),
        ("/activelearning/unknown", {}, 404, "hybrid"),
        ("/activelearning/random", {"limit": 3}, 400, "client_id"),
        ("/model_version/samed2d", {"version": "../base"}, 404, "version"),
    ],
)
def test_work_that_cannot_be_done_is_refused_at_once(
    host: RunningServer, path: str, body: object, status: int, word: str
) -> None:
    check(ask(host, "POST", path, json=body), status, word)
    assert ask(host, "GET", "/train/").status_code == 404  # nothing was started


@pytest.mark.parametrize("body", ["{", "[" * 50_000, "[]", "3", '"x"', "NaN", "\x00"])
def test_bodies_that_are_no_objects(host: RunningServer, body: str) -> None:
    for path in ("/train/samed2d", "/activelearning/random", "/model_version/samed2d"):
        headers = {"Content-Type": "application/json"}
        answer = ask(host, "POST", path, data=body, headers=headers)
        assert answer.status_code in (400, 422), answer.text
        assert isinstance(answer.json()["detail"], str)


def test_scoring_is_nothing(host: RunningServer) -> None:
    assert ask(host, "POST", "/scoring/", json={}).json() == {}


# --- The rest


def test_weights_are_not_exchanged_from_outside(host: RunningServer) -> None:
    file = {"file": ("model.pt", b"x")}
    check(ask(host, "PUT", "/model/samed2d", files=file), 400, "scripts/models.py")
    check(ask(host, "DELETE", "/model/samed2d"), 400, "previous")
    check(ask(host, "GET", "/model/samed2d"), 404, "model_card")
    check(ask(host, "GET", "/model/info/samed2d"), 404, "model_version")


@pytest.mark.parametrize("query", ["lines=0", "lines=-1", "lines=99999999999999999999"])
def test_lines_of_the_log(host: RunningServer, query: str) -> None:
    check(ask(host, "GET", f"/logs/?{query}"), 400, "lines")
    shown = ask(host, "GET", "/logs/?lines=3")
    assert shown.status_code in (200, 404)
    assert "<script" not in shown.text
    assert ask(host, "GET", "/logs/gpu").status_code in (200, 404)


@pytest.mark.parametrize("wsi", ["{", "{}", "[]"])
def test_whole_slides(host: RunningServer, wsi: str) -> None:
    check(ask(host, "POST", "/infer/wsi_v2/samed2d", data={"wsi": wsi}), 400, "whole slide")
    check(ask(host, "POST", "/infer/wsi/samed2d", json={}), 400, "whole slide")


@pytest.mark.parametrize("path", ["%2e%2e", "%2e%2e/%2e%2e", "/etc/passwd", "x" * 5000, "%00"])
def test_ohif_gives_out_its_own_files_only(host: RunningServer, path: str) -> None:
    answer = ask(host, "GET", f"/ohif/{path}")
    assert answer.status_code == 200
    assert answer.text.lstrip().lower().startswith("<!doctype html>")


@pytest.mark.parametrize("path", ["qido/studies", "wado/../system", "stow/studies", "patients"])
def test_a_server_without_a_pacs_has_no_way_to_one(host: RunningServer, path: str) -> None:
    answer = ask(host, "GET", f"/proxy/dicom/{path}")
    assert answer.status_code in (400, 404)
    assert answer.json()["detail"].startswith("Got: ")


def test_files_that_are_too_large(host: RunningServer) -> None:
    big = {"file": ("scan.nii.gz", bytes(6 << 20))}
    check(ask(host, "PUT", IMAGE, files=big), 413, "max_upload_mb")
    check(ask(host, "POST", "/train/samed2d", data=b"x" * (5 << 20)), 413)

    def endless() -> Iterator[bytes]:
        for _ in range(80):
            yield b" " * (1 << 17)

    try:
        answer = ask(host, "POST", "/train/samed2d", data=endless())
    except requests.ConnectionError:
        return  # it was answered and closed before everything was sent
    check(answer, 413)


# --- What is said about it all


def test_health_and_figures(host: RunningServer) -> None:
    assert ask(host, "GET", "/health").json() == {"status": "ok"}
    ready = ask(host, "GET", "/ready").json()
    assert ready["status"] == "ready"
    assert set(ready["models"]) == {"samed2d", "samed2d_volume"}
    answer = post_infer(host, {"foreground": [[20, 17, 5]]}, PLAIN, output="json").json()
    text = ask(host, "GET", "/metrics").text
    line = 'samed2d_requests_total{method="POST",address="/infer/{model}",status="200"}'
    assert line in text
    assert f'samed2d_model_info{{model="samed2d",version="{answer["model_version"]}"}} 1' in text
    for name in (
        'samed2d_infer_seconds_count{model="samed2d",stage="total"}',
        'samed2d_embeddings_total{cached="true"}',
        "samed2d_requests_waiting 0",
        "samed2d_trainings_running 0",
        "samed2d_memory_bytes ",
    ):
        assert name in text
    assert PLAIN not in text


def test_no_answer_was_an_error_of_the_server(host: RunningServer) -> None:
    text = ask(host, "GET", "/metrics").text
    assert 'status="500"' not in text
    assert "Traceback" not in host.log()

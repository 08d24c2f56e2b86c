"""What a real server says to requests that make no sense: 4xx and a sentence, never a stack."""

import json

import pytest
import requests

from tests.server.clicks import OHIF_ECHO, ohif_click, post_infer
from tests.support.studies import PLAIN

pytestmark = pytest.mark.server

CLICK = {"foreground": [[20, 17, 5]]}
NO_SESSION = "8d3c0b66-aaaa-11ef-8000-0242ac120002"


def check(answer, status, *words):
    """The answer has this status and a sentence with got, allowed and what to do."""
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert "Got: " in detail
    assert "What to do: " in detail
    assert "Traceback" not in answer.text
    for word in words:
        assert word in detail


@pytest.mark.parametrize(
    ("params", "status", "word"),
    [
        ("{", 400, "JSON"),
        ("[]", 400, "a list"),
        ("null", 400, "null"),
        ("[" * 50_000, 400, "JSON"),
        ('{"foreground": [[20, 17, 5]], "foreground": "x"}', 422, "foreground"),
        ({"points": [[1, 2, 3]]}, 400, "'points'"),
        ({**CLICK, "session_id": "x"}, 400, "'session_id'"),
        ({**CLICK, "image": "/etc/passwd"}, 400, "image"),
        ({**CLICK, "model": "other"}, 400, "model"),
        ({}, 422, "click"),
        ({"foreground": [], "background": [], **OHIF_ECHO}, 422, "click"),
        ({"foreground": [[20, 17]]}, 422, "[i, j, k]"),
        ({"foreground": [["20", "17", "5"]]}, 422, "[i, j, k]"),
        ('{"foreground": [[NaN, 1, 1]]}', 422, "[i, j, k]"),
        ('{"foreground": [[1e999, 1, 1]]}', 422, "[i, j, k]"),
        ({"foreground": [[True, True, True]]}, 422, "[i, j, k]"),
        ({"foreground": [[40, 17, 5]]}, 422, "0 <= i <= 39"),
        ({"foreground": [[20, 17, 9]]}, 422, "0 <= k <= 8"),
        ({"foreground": [[20, -1, 5]]}, 422, "0 <= j <= 51"),
        ({**CLICK, "slice": 9}, 422, "0 <= slice <= 8"),
        ({**CLICK, "slice": 4}, 422, "no point on it"),
        ({**CLICK, "slice": "5"}, 422, "slice"),
        ({"roi": [1, 2, 3]}, 422, "roi"),
        ({"roi": [100, 200, 0, 9, 0, 9]}, 422, "roi"),
        ({**CLICK, "background": [[20, 17, 5]]}, 422, "row of a structure"),
        ({**CLICK, "intensity": "sharp"}, 400, "soft_tissue"),
        ({**CLICK, "result_extension": ".exe"}, 400, ".nrrd"),
        ({**CLICK, "save_label": True, "label_tag": "../../x"}, 400, "label_tag"),
    ],
)
def test_params(server, params, status, word):
    check(post_infer(server, params, PLAIN), status, word)


@pytest.mark.parametrize(
    ("image", "status"),
    [
        ("unknown", 404),
        ("/etc/passwd", 400),
        ("../plain ct", 400),
        ("..", 400),
        ("plain ct.nii.gz", 404),
        ("", 400),
        (None, 400),
    ],
)
def test_images(server, image, status):
    check(post_infer(server, CLICK, image), status)


def test_models(server):
    check(post_infer(server, CLICK, PLAIN, model="unknown"), 404, "samed2d")


@pytest.mark.parametrize(
    ("session", "status"), [(NO_SESSION, 404), ("..", 400), ("../../etc", 400), ("1", 400)]
)
def test_sessions(server, session, status):
    check(post_infer(server, CLICK, PLAIN, session_id=session), status, "session")


@pytest.mark.parametrize("session", [NO_SESSION, "not-a-uuid"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_session_addresses(server, session, method):
    answer = requests.request(method, f"{server.url}/session/{session}", timeout=60)
    assert answer.status_code == 404


def test_a_file_that_is_no_image(server):
    answer = post_infer(server, CLICK, None, files={"file": ("a.nii.gz", b"no image")})
    check(answer, 415)
    answer = post_infer(server, CLICK, None, files={"file": ("a.exe", b"no image")})
    check(answer, 415)


def test_a_label_file_that_is_none(server):
    answer = post_infer(server, CLICK, PLAIN, files={"label": ("a.nii.gz", b"label")})
    check(answer, 415, "nii.gz")


def test_dicom_seg_without_dicom(server):
    check(post_infer(server, CLICK, PLAIN, output="dicom_seg"), 400, "dicom_seg")


def test_an_output_nobody_knows(server):
    assert post_infer(server, CLICK, PLAIN, output="gold").status_code == 422


def test_a_label_for_an_image_nobody_knows(server):
    answer = requests.put(
        f"{server.url}/datastore/label",
        params={"image": "unknown"},
        files={"label": ("a.nii.gz", b"x")},
        timeout=60,
    )
    assert answer.status_code == 404
    assert "unknown" in answer.json()["detail"]


def test_whole_slide_requests_are_refused_with_a_sentence(server):
    answer = requests.post(
        f"{server.url}/infer/wsi_v2/samed2d", params={"image": PLAIN}, timeout=60
    )
    check(answer, 400, "whole slide")


def test_the_server_answers_as_before(server):
    assert ohif_click(server, PLAIN, [20, 17, 5]).status_code == 200
    json.dumps(server.info())

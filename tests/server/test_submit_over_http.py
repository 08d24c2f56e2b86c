"""What OHIF does to save: clicks, then Run on the model ``submit``."""

import json
import time

import numpy as np
import pytest
import requests
from requests_toolbelt import MultipartDecoder

from tests.server.clicks import label_array, ohif_click, post_infer, read_answer
from tests.support.server import start_server
from tests.support.studies import OBLIQUE, PLAIN, SHAPES, write_small_study

pytestmark = pytest.mark.server


def nothing_is_left(server):
    """Wait until temporary files are gone; one goes after its answer is out."""
    deadline = time.monotonic() + 60
    while left := list((server.home / "tmp").glob("samed2d-*")):
        assert time.monotonic() < deadline, f"temporary files were left: {left}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def server(tmp_path_factory, random_weights):
    study = write_small_study(tmp_path_factory.mktemp("study"))
    conf = {
        "architecture": "samed2d_t",
        "checkpoint": str(random_weights),
        "labels": "liver,spleen",
    }
    with start_server(study, conf=conf) as running:
        yield running


def final_label(server, image):
    answer = requests.get(
        f"{server.url}/datastore/label", params={"label": image, "tag": "final"}, timeout=60
    )
    assert answer.ok, answer.text
    return answer.content


def completed(server):
    return requests.get(f"{server.url}/datastore/", timeout=60).json()["completed"]


def test_clicks_of_ohif_are_saved_by_submit(server):
    before = completed(server)
    first = ohif_click(server, PLAIN, [20, 17, 5])
    second = ohif_click(server, PLAIN, [12, 9, 3])
    assert first.ok and second.ok
    drawn = label_array(read_answer(first.content)) | label_array(read_answer(second.content))
    assert drawn.any()
    # OHIF's Auto-Segmentation panel sends no points.
    answer = post_infer(server, {"result_extension": ".nrrd"}, PLAIN, "submit", output="image")
    assert answer.ok, answer.text
    # Neither click named a label, so it is the one after the two of the server.
    shown = label_array(read_answer(answer.content))
    np.testing.assert_array_equal(shown, drawn * 3)
    suffix = ".nrrd"
    saved = label_array(read_answer(final_label(server, PLAIN), suffix))
    np.testing.assert_array_equal(saved, shown)
    info = requests.get(
        f"{server.url}/datastore/label/info", params={"label": PLAIN, "tag": "final"}, timeout=60
    ).json()
    assert [entry["name"] for entry in info["label_info"]] == ["liver", "spleen", "object"]
    assert info["params"]["reviewed"] == [3, 5]
    assert completed(server) == before + 1


def test_without_clicks_nothing_is_saved(server):
    answer = post_infer(server, {}, OBLIQUE, "submit", output="image")
    assert answer.status_code == 400
    assert "nothing was drawn" in answer.json()["detail"]


def test_the_uncertainty_map_is_a_third_part_of_the_form(server):
    params = {"foreground": [[20, 17, 5]], "uncertainty": True}
    answer = post_infer(server, params, OBLIQUE)
    assert answer.ok, answer.text
    parts = {}
    for part in MultipartDecoder.from_response(answer).parts:
        name = part.headers[b"Content-Disposition"].decode().split('name="')[1].split('"')[0]
        parts[name] = part.content
    assert set(parts) == {"params", "image", "uncertainty"}
    facts = json.loads(parts["params"])
    assert 0 <= facts["uncertainty"] <= 1
    doubt = label_array(read_answer(parts["uncertainty"]))
    assert doubt.shape == SHAPES[OBLIQUE]
    assert 0 < doubt.max() <= 100
    nothing_is_left(server)


def test_viewers_that_take_one_file_get_the_mask(server):
    params = {"foreground": [[20, 17, 5]], "uncertainty": True}
    answer = post_infer(server, params, OBLIQUE, output="image")
    assert set(np.unique(label_array(read_answer(answer.content)))) <= {0, 1}
    scalar = post_infer(server, params, OBLIQUE, output="json").json()["uncertainty"]
    assert 0 <= scalar <= 1
    nothing_is_left(server)

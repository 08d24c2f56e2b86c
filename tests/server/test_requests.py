import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import PromptError, RequestError, Samed2dError
from lib.server.requests import (
    _PARSERS,
    MAX_POINTS,
    ClickRequest,
    check_image_id,
    check_session_id,
    decode_params,
)
from tests.server.clicks import OHIF_ECHO


def test_click_of_ohif():
    click = ClickRequest.parse({"foreground": [[40, 41, 9]], "background": [], **OHIF_ECHO})
    assert click == ClickRequest(foreground=((40.0, 41.0, 9),))


def test_click_of_slicer_with_the_whole_config():
    click = ClickRequest.parse(
        {
            "label": "liver",
            "foreground": [[10, 11, 3], [12, 13, 3]],
            "background": [[1, 2, 3]],
            "device": "NVIDIA H100",
            "intensity": "lung",
            "roi": [30, 10, 40, 5, 6, 2],
            "slice": 3,
            "reset_state": True,
            "client_id": "user-xyz",
            "result_extension": ".nrrd",
            "result_dtype": "uint8",
        }
    )
    assert click.label == "liver"
    assert click.slice == 3
    assert click.intensity == "lung"
    assert click.roi == (10, 30, 5, 40, 2, 6)
    assert click.background == ((1.0, 2.0, 3),)


def test_lists_of_config_mean_their_first_item():
    click = ClickRequest.parse({"device": ["cpu", "cuda"], "intensity": ["bone", "auto"]})
    assert click.intensity == "bone"


def test_null_is_not_sent():
    assert ClickRequest.parse({"slice": None, "client_id": None, "roi": None}) == ClickRequest()


@pytest.mark.parametrize(("sent", "understood"), [(True, True), ("false", False), (1, True)])
def test_flags(sent, understood):
    assert ClickRequest.parse({"save_label": sent}).save_label is understood


def test_unknown_keys_are_named_with_the_known_ones():
    with pytest.raises(RequestError, match=r"'colour', 'points'.*foreground, background") as info:
        ClickRequest.parse({"points": [[1, 2, 3]], "colour": "red", "foreground": []})
    assert info.value.status == 400


@pytest.mark.parametrize("key", ["foreground", "background"])
@pytest.mark.parametrize(
    "points",
    [
        "[[1, 2, 3]]",
        {"0": [1, 2, 3]},
        5,
        True,
        [1, 2, 3],
        [[]],
        [[1, 2]],
        [[1, 2, 3, 4]],
        [["1", "2", "3"]],
        [[True, False, True]],
        [[1, 2, None]],
        [[math.nan, 2, 3]],
        [[1, math.inf, 3]],
        [[1, 2, -math.inf]],
        [[1, 2, 3.5]],
        [[10**400, 2, 3]],
        [[1e300, 2, 3]],
        [[1, 2, 3], [4, 5]],
        [[[1], [2], [3]]],
    ],
)
def test_malformed_points_are_unusable_prompts(key, points):
    with pytest.raises(PromptError) as info:
        ClickRequest.parse({key: points})
    assert info.value.status == 422
    assert info.value.allowed
    assert info.value.todo
    assert len(info.value.message) < 500


def test_too_many_points():
    with pytest.raises(PromptError, match="at most"):
        ClickRequest.parse({"foreground": [[1, 1, 1]] * (MAX_POINTS + 1)})


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"slice": 1.5}, PromptError),
        ({"slice": "3"}, PromptError),
        ({"slice": True}, PromptError),
        ({"slice": [3]}, PromptError),
        ({"slice": math.nan}, PromptError),
        ({"roi": []}, PromptError),
        ({"roi": [1, 2, 3, 4]}, PromptError),
        ({"roi": [1, 2, 3, 4, 5, math.inf]}, PromptError),
        ({"roi": [1, 2, 3, 4, 5, "6"]}, PromptError),
        ({"roi": [1, 2, 3, 4, 5, True]}, PromptError),
        ({"roi": "1,2,3,4,5,6"}, PromptError),
        ({"roi": {"i": 1}}, PromptError),
        ({"label": 3}, RequestError),
        ({"as_label": 3}, RequestError),
        ({"as_label": [["liver"]]}, RequestError),
        ({"label": "x" * 1000}, RequestError),
        ({"label": "a\x00b"}, RequestError),
        ({"intensity": "sharp"}, RequestError),
        ({"intensity": []}, RequestError),
        ({"multimask": "maybe"}, RequestError),
        ({"multimask": 2}, RequestError),
        ({"result_extension": ".exe"}, RequestError),
        ({"result_extension": "/../../x.nrrd"}, RequestError),
        ({"result_dtype": "float32"}, RequestError),
        ({"result_compress": "often"}, RequestError),
        ({"label_tag": "../../etc"}, RequestError),
        ({"label_tag": ""}, RequestError),
        ({"save_label": "yes please"}, RequestError),
        ({"label_info": "liver"}, RequestError),
        ({"label_info": [{"segmentAttribute": {}}]}, RequestError),
        ({"label_info": [{"name": 4}]}, RequestError),
        ({"client_id": {"a": 1}}, RequestError),
        ({"device": 0}, RequestError),
        ({"logging": ["INFO"]}, RequestError),
    ],
)
def test_values_of_a_wrong_type_say_which_key(params, error):
    (key,) = params
    with pytest.raises(error, match=key) as info:
        ClickRequest.parse(params)
    assert 400 <= info.value.status < 500
    assert len(info.value.message) < 600


def test_the_row_background_of_ohif_is_explained():
    points = [[5, 6, 7], [8, 9, 7]]
    with pytest.raises(PromptError, match="row of a structure instead of 'background'"):
        ClickRequest.parse({"foreground": points, "background": points, **OHIF_ECHO})


JSON_TEXT = st.text("a1./\x00", max_size=5)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | JSON_TEXT,
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(JSON_TEXT, inner, max_size=3),
    max_leaves=12,
)


@given(st.sampled_from(sorted(_PARSERS)), JSON_VALUES)
def test_whatever_json_brings_is_read_or_refused(key, value):
    try:
        click = ClickRequest.parse({key: value})
    except Samed2dError as error:
        assert 400 <= error.status < 500
    else:
        assert all(math.isfinite(value) for point in click.foreground for value in point)


def test_params_may_be_absent():
    assert decode_params("", "samed2d", "ct") == {}


def test_params_may_repeat_the_address():
    text = json.dumps({"model": "samed2d", "image": "ct", "slice": 3})
    assert decode_params(text, "samed2d", "ct") == {"slice": 3}


@pytest.mark.parametrize("key", ["model", "image"])
@pytest.mark.parametrize("value", ["other", "/etc/passwd", None, ["ct"]])
def test_params_may_not_contradict_the_address(key, value):
    with pytest.raises(RequestError, match=key):
        decode_params(json.dumps({key: value}), "samed2d", "ct")


def test_session_and_description_of_a_client_are_dropped():
    text = json.dumps({"session": {"image": "/etc/passwd"}, "description": "x"})
    assert decode_params(text, "samed2d", "ct") == {}


@pytest.mark.parametrize(
    "text", ["{", "[]", "[1]", "3", '"text"', "null", "true", "{'a': 1}", "[" * 100_000, "\x00"]
)
def test_params_that_are_no_json_object(text):
    with pytest.raises(RequestError, match="JSON object") as info:
        decode_params(text, "samed2d", "ct")
    assert info.value.status == 400


@pytest.mark.parametrize(
    "image", ["/etc/passwd", "../ct", "a/b", "..", ".", "a\\b", "a\x00b", "x" * 2000]
)
def test_image_ids_that_look_like_paths(image):
    with pytest.raises(RequestError, match="no path"):
        check_image_id(image)


@pytest.mark.parametrize("image", ["ct", "plain ct", "1.2.840.1", "a..b", "hjärna (2)"])
def test_image_ids(image):
    check_image_id(image)


@pytest.mark.parametrize("session", ["", "..", "../../x", "8d3c0b66-aaaa-11ef-8000", "x" * 36])
def test_session_ids_that_are_no_uuid(session):
    with pytest.raises(RequestError, match="UUID"):
        check_session_id(session)


def test_session_ids():
    check_session_id("8d3c0b66-aaaa-11ef-8000-0242ac120002")


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("spleen", "spleen"),
        (["as in the viewer", "liver"], None),
        ("as in the viewer", None),
        ("", None),
        (None, None),
    ],
)
def test_a_label_for_viewers_that_send_none(sent, name):
    assert ClickRequest.parse({"as_label": sent}).as_label == name

"""Dataclasses to JSON and strictly back."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from lib.networks.typed_json import from_text, to_text


@dataclass(frozen=True)
class Part:
    name: str
    share: float


@dataclass(frozen=True)
class Whole:
    count: int
    parts: tuple[Part, ...]
    note: str | None
    done: bool


WHOLE = Whole(2, (Part("é", 0.5), Part("b", 1.0)), None, True)


def with_(**changes: object) -> str:
    return json.dumps({**json.loads(to_text(WHOLE)), **changes})


def test_there_and_back() -> None:
    assert from_text(Whole, to_text(WHOLE)) == WHOLE
    assert "é" in to_text(WHOLE)
    assert to_text(WHOLE).endswith("}\n")


def test_a_whole_number_does_where_a_float_is_wanted() -> None:
    found = from_text(Whole, with_(parts=[{"name": "a", "share": 1}]))
    assert found.parts == (Part("a", 1.0),)
    assert type(found.parts[0].share) is float


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "the file is no object"),
        ("{}", "lacks count, parts, note, done"),
        (with_(more=1), "has the unknown more"),
        (with_(count=True), "count is 'True' and no int"),
        (with_(count=1.5), "count is '1.5' and no int"),
        (with_(done=1), "done is '1' and no bool"),
        (with_(note=3), "note is '3' and no str"),
        (with_(parts={}), "parts is no list"),
        (with_(parts=[3]), r"parts\[0\] is no object"),
        (with_(parts=[{"name": "a"}]), r"parts\[0\] lacks share"),
        (with_(parts=[{"name": "a", "share": float("nan")}]), r"parts\[0\]\.share is 'nan'"),
        ("{", "Expecting"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_another_form_is_refused_with_its_place(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_text(Whole, text)


def test_what_json_does_not_have_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_text(Part("a", float("inf")))

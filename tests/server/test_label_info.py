"""Names and reviewed slices in whatever a client sent along with a label."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.server.label_info import (
    LabelFacts,
    listed_names,
    names_by_value,
    reviewed_slices,
    saved_facts,
)

LIVER_AND_LESION = [{"name": "liver", "idx": 1}, {"name": "lesion", "idx": 4}]


def test_the_order_of_the_entries_counts() -> None:
    info = {"label_info": LIVER_AND_LESION}
    assert listed_names(info) == ["liver", "lesion"]
    # Slicer wrote 1 and 2; a file with 4 in it was written by somebody who means idx.
    assert names_by_value(info) == {1: "liver", 2: "lesion", 4: "lesion"}


def test_entries_may_stand_under_params() -> None:
    assert names_by_value({"params": {"label_info": [{"name": "liver"}]}}) == {1: "liver"}


def test_a_saved_answer_names_its_labels() -> None:
    info = {"model": "samed2d", "params": {"label_names": {"spleen": 2}}}
    assert names_by_value(info) == {2: "spleen"}


def test_without_names() -> None:
    assert names_by_value({}) == {}
    assert names_by_value({"label_info": [{"idx": 1}, {"name": "b"}, {"name": None}]}) == {2: "b"}


@pytest.mark.parametrize(
    ("info", "slices"),
    [
        ({"params": {"reviewed": [0, 3]}}, {0, 3}),
        ({"reviewed": [2]}, {2}),
        ({"params": {"reviewed": ["1", None, True, -4, 5.0, 7]}}, {7}),
        ({"params": {"reviewed": "all"}}, set()),
        ({}, set()),
    ],
)
def test_reviewed_slices(info: dict[str, object], slices: set[int]) -> None:
    assert reviewed_slices(info) == slices


def test_idx_counts_where_the_values_are_those_of_idx() -> None:
    info = {"label_info": [{"name": "liver", "idx": 2}, {"name": "lesion", "idx": 3}]}
    assert names_by_value(info, {2, 3}) == {1: "liver", 2: "liver", 3: "lesion"}
    # Slicer numbers what it saved from 1, and its idx counts all segments.
    assert {v: n for v, n in names_by_value(info, {1, 2}).items() if v < 3} == {
        1: "liver",
        2: "lesion",
    }


def test_an_answer_knows_its_values_best() -> None:
    info = {
        "label_info": [{"name": "liver", "idx": 2}, {"name": "lesion", "idx": 3}],
        "params": {"label_names": {"liver": 2, "lesion": 3}},
    }
    assert {v: n for v, n in names_by_value(info, {2}).items() if v > 1} == {
        2: "liver",
        3: "lesion",
    }


def test_what_is_relied_on() -> None:
    info = {
        "label_info": LIVER_AND_LESION,
        "model": "samed2d",
        "user": "Ann\\\n Smith",
        "reviewed": [7, 2, 99],
        "prompts": 4,
        "own": [1],
    }
    facts = saved_facts(info, {4, 1}, n_slices=9)
    assert facts.names == ((1, "liver"), (4, "lesion"))
    assert facts.reviewed == (2, 7)
    assert (facts.user, facts.prompts, facts.algorithm) == ("Ann   Smith", 4, "SEMIAUTOMATIC")
    assert '"own": [1]' in facts.sent
    by_hand = saved_facts({"label_info": LIVER_AND_LESION}, {1}, 9)
    assert (by_hand.algorithm, by_hand.reviewed) == ("MANUAL", ())
    alone = saved_facts({"model": "m", "params": {"algorithm": "AUTOMATIC"}}, {1}, 9)
    assert alone.algorithm == "AUTOMATIC"


def test_an_empty_label_says_what_was_looked_for_and_where() -> None:
    facts = saved_facts({"label_info": LIVER_AND_LESION}, (), n_slices=3)
    assert facts.reviewed == (0, 1, 2)
    assert facts.names[0] == (1, "liver")
    assert saved_facts({"reviewed": [1]}, (), n_slices=3).reviewed == (1,)


json = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.text(max_size=3) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["label_info", "params", "name", "idx", "label_names", "reviewed", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["label_info", "params", "reviewed"]), json))
def test_any_json_is_survived(info: dict[str, object]) -> None:
    assert all(isinstance(name, str) for name in listed_names(info))
    assert all(type(k) is int and name for k, name in names_by_value(info).items())
    assert all(type(k) is int and k >= 0 for k in reviewed_slices(info))
    facts = saved_facts(info, {1, 4}, 5)
    assert isinstance(facts, LabelFacts)
    assert all(0 <= k < 5 for k in facts.reviewed)
    assert all(0 < len(name) <= 64 and "\\" not in name for _, name in facts.names)

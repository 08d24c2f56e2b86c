"""Names become codes that the DICOM standard knows, or none."""

from __future__ import annotations

import pytest
from pydicom.sr._concepts_dict import concepts

from lib.imaging import anatomy_codes
from lib.imaging.anatomy_codes import (
    ABNORMAL,
    OBJECT,
    SIDES,
    STRUCTURE,
    SUBSTANCE,
    TISSUE,
    Anatomy,
    Code,
    anatomy_of,
)

NOT_IN_PYDICOM = {"84640000"}
"""Nucleus of a cell, as CID 8135 for microscopy has it."""
KNOWN = sorted(set(anatomy_codes._NAMES.values()), key=lambda anatomy: anatomy.kind.value)


def standard_meanings(code: Code) -> set[str]:
    """What the code tables of the standard, as pydicom carries them, call a code."""
    found = {
        entry[code.value][0].lower()
        for entry in concepts[code.scheme].values()
        if code.value in entry
    }
    return found


def context_groups(code: Code) -> set[int]:
    return {
        group
        for entry in concepts[code.scheme].values()
        for group in entry.get(code.value, ("", []))[1]
    }


@pytest.mark.parametrize("anatomy", KNOWN, ids=lambda anatomy: anatomy.kind.meaning)
def test_codes_mean_what_the_standard_says(anatomy: Anatomy) -> None:
    if anatomy.kind.value not in NOT_IN_PYDICOM:
        assert anatomy.kind.meaning.lower() in standard_meanings(anatomy.kind)
    assert all(0 <= part <= 255 for part in anatomy.colour)


def test_categories_are_those_of_the_standard() -> None:
    for category in (STRUCTURE, ABNORMAL, TISSUE, SUBSTANCE, OBJECT):
        assert 7150 in context_groups(category)
        assert category.meaning.lower() in standard_meanings(category)
    for side in SIDES.values():
        assert side.meaning.lower() in standard_meanings(side)
        assert 244 in context_groups(side)


def test_kinds_have_colours_of_their_own() -> None:
    assert len({anatomy.colour for anatomy in KNOWN}) == len(KNOWN)


@pytest.mark.parametrize(
    ("name", "value", "category"),
    [
        ("liver", "10200004", STRUCTURE),
        ("LIVER", "10200004", STRUCTURE),
        ("spleen", "78961009", STRUCTURE),
        ("kidneys", "64033007", STRUCTURE),
        ("vertebrae", "51282000", STRUCTURE),
        ("vertebra 3", "51282000", STRUCTURE),
        ("brain stem", "119238007", STRUCTURE),
        ("urinary_bladder", "89837001", STRUCTURE),
        ("tumour", "108369006", ABNORMAL),
        ("Tumors", "108369006", ABNORMAL),
        ("liver lesion 2", "52988006", ABNORMAL),
        ("lesions", "52988006", ABNORMAL),
        ("vessel 2", "59820001", STRUCTURE),
        ("cell nuclei", "84640000", STRUCTURE),
        ("lateral ventricle", "66720007", STRUCTURE),
        ("cardiac ventricle", "21814001", STRUCTURE),
        ("adipose tissue", "256674009", TISSUE),
        ("stent", "65818007", OBJECT),
        ("blood", "87612001", SUBSTANCE),
    ],
)
def test_names_that_leave_no_doubt(name: str, value: str, category: Code) -> None:
    found = anatomy_of(name)
    assert (found.kind.value, found.kind.scheme, found.category) == (value, "SCT", category)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("left kidney", "7771000"),
        ("Kidney_Right", "24028007"),
        ("kidney-left 2", "7771000"),
        ("kidney", None),
        ("left and right kidney", None),
    ],
)
def test_sides(name: str, side: str | None) -> None:
    found = anatomy_of(name)
    assert (found.side and found.side.value) == side


@pytest.mark.parametrize(
    "name", ["ventricle", "left ventricle", "organ x", "", "  ", "7", "left", "segment 4", "hilus"]
)
def test_what_may_mean_anything_gets_no_code(name: str) -> None:
    found = anatomy_of(name)
    assert (found.category, found.kind, found.side) == (TISSUE, TISSUE, None)


def test_an_unknown_name_has_one_bright_colour() -> None:
    colours = [anatomy_of(f"thing {letter}").colour for letter in "abcdefgh"]
    assert colours == [anatomy_of(f"Thing {letter}").colour for letter in "abcdefgh"]
    assert len(set(colours)) == len(colours)
    assert min(max(colour) for colour in colours) > 200

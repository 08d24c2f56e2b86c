"""The kinds of flaws that are looked for."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = {
    "missing": "a file that the list names and that is not there",
    "unlisted": "a file that the list does not name",
    "broken": "a PNG that cannot be decoded",
    "shape": "a mask of another shape than its image",
    "empty": "a mask without a pixel",
    "inverted": "a mask of the background: it holds most of the rim, and more than half of all",
    "multi_component": "a mask of several parts",
    "too_small": "a mask under 0.153 % of the image",
    "values": "a mask with other values than 0 and 255",
    "same_mask": "two masks of an image that are equal",
    "overlap": "two masks of an image that overlap (an organ and a part of it)",
    "binary": "an image of two grey values or fewer",
    "modality": "a modality that SA-Med2D-20M does not have",
    "name": "a name that is not made as in SA-Med2D-20M",
    "class": "a class that the mapping does not list",
    "duplicate": "an image that is there several times",
    "look_alike": "images of several cases that look the same",
    "leakage": "a patient, or a look-alike, on both sides of the split",
    "list": "a list of files that cannot be read",
}
"""Kind -> what it means. All but `NOTES` are flaws."""

NOTES = ("overlap",)
"""Kinds that occur in good data too: they are counted, and alone make no bad result."""


@dataclass(frozen=True, order=True)
class Finding:
    """A flaw of a file.

    Attributes:
        kind: of `KINDS`.
        file: path in the folder.
        detail: what exactly, empty where the kind says all.
    """

    kind: str
    file: str
    detail: str = ""

"""What a client said about a label when it saved it; anything may stand there.

The host keeps the JSON that came with ``PUT /datastore/label``, or, for an answer that was saved
at once, the answer's own parameters under ``params``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard


def listed_names(info: Mapping[str, Any]) -> list[str]:
    """Names of the segments, in their order; empty text where an entry has none."""
    return [str(entry.get("name") or "") for entry in _entries(info)]


def names_by_value(info: Mapping[str, Any]) -> dict[int, str]:
    """Label value -> name.

    By order first: Slicer numbers the segments it saved from 1, whatever it says in ``idx``. For
    values beyond that ``idx`` counts, and where nothing is listed the names of a saved answer.
    """
    names: dict[int, str] = {}
    for name, value in _mapping(_mapping(info.get("params")).get("label_names")).items():
        if _is_number(value):
            names[value] = str(name)
    for entry in _entries(info):
        if _is_number(value := entry.get("idx")):
            names[value] = str(entry.get("name") or "")
    names.update(enumerate(listed_names(info), start=1))
    return {value: name for value, name in names.items() if name}


def reviewed_slices(info: Mapping[str, Any]) -> frozenset[int]:
    """Slices k that were marked as reviewed, with or without a label."""
    listed = _mapping(info.get("params")).get("reviewed") or info.get("reviewed")
    if not isinstance(listed, list):
        return frozenset()
    return frozenset(k for k in listed if _is_number(k) and k >= 0)


def _entries(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = info.get("label_info") or _mapping(info.get("params")).get("label_info")
    return [_mapping(entry) for entry in listed] if isinstance(listed, list) else []


def _mapping(thing: object) -> Mapping[str, Any]:
    return thing if isinstance(thing, Mapping) else {}


def _is_number(thing: object) -> TypeGuard[int]:
    return isinstance(thing, int) and not isinstance(thing, bool)

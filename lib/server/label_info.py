"""What a client said about a label when it saved it; anything may stand there.

The host keeps the JSON that came with ``PUT /datastore/label``, or, for an answer that was saved
at once, the answer's own parameters under ``params``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from lib.imaging.seg_facts import Algorithm

MAX_TEXT = 64
"""Longest name in DICOM (value representation LO), in characters."""
MAX_SENT = 1 << 16
"""Longest JSON of a client that is kept, in characters."""


@dataclass(frozen=True, kw_only=True)
class LabelFacts:
    """What is known about a label when it is saved.

    Attributes:
        user: name of who saved it, as the server's sign-in gave it.
        model_version: of the model that drew with them; empty for none.
        prompts: clicks and boxes that it took; 0 where unknown.
        names: (value, name) of the label map's values, in order of value.
        reviewed: slices k that somebody looked at, in order.
        algorithm: by hand, by clicks, or by a model alone.
        sent: JSON of what the client said, kept for people to look at, never relied on.
    """

    user: str = ""
    model_version: str = ""
    prompts: int = 0
    names: tuple[tuple[int, str], ...] = ()
    reviewed: tuple[int, ...] = ()
    algorithm: Algorithm = "MANUAL"
    sent: str = "{}"


def saved_facts(info: Mapping[str, Any], values: Collection[int], n_slices: int) -> LabelFacts:
    """From what a client said to what is relied on.

    An empty label says that nothing is there: without a word on which slices, on all of them.

    Args:
        info: anything.
        values: that occur in the label map, without 0.
        n_slices: of the image.
    """
    names = {v: text for v, name in names_by_value(info, values).items() if (text := _text(name))}
    # All names where nothing is labelled: they say what was looked for and not found.
    named = sorted(set(values) or names)
    looked_at = {k for k in reviewed_slices(info) if k < n_slices}
    answer = _mapping(info.get("params"))
    prompts = answer.get("prompts", info.get("prompts"))
    version = _text(answer.get("model_version") or info.get("model_version"))
    stated = answer.get("algorithm") or info.get("algorithm")
    drawn: Algorithm = "SEMIAUTOMATIC" if version or info.get("model") else "MANUAL"
    return LabelFacts(
        user=_text(info.get("user")),
        model_version=version,
        prompts=min(max(prompts, 0), 10**9) if _is_number(prompts) else 0,
        names=tuple((value, names[value]) for value in named if value in names),
        reviewed=tuple(sorted(looked_at or (() if values else range(n_slices)))),
        algorithm="AUTOMATIC" if stated == "AUTOMATIC" else drawn,
        sent=_kept(info),
    )


def listed_names(info: Mapping[str, Any]) -> list[str]:
    """Names of the segments, in their order; empty text where an entry has none."""
    return [str(entry.get("name") or "") for entry in _entries(info)]


def names_by_value(info: Mapping[str, Any], values: Collection[int] = ()) -> dict[int, str]:
    """Label value -> name.

    An answer of a model that was saved says itself which value is what. Otherwise by order: Slicer
    numbers the segments it saved from 1, whatever it says in ``idx``. ``idx`` counts for values
    beyond that, and for all of them where the label map has such a value and all its values are
    listed.

    Args:
        info: what the client said.
        values: that occur in the label map, where known.
    """
    by_idx: dict[int, str] = {}
    for entry in _entries(info):
        if _is_number(value := entry.get("idx")):
            by_idx[value] = str(entry.get("name") or "")
    by_order = dict(enumerate(listed_names(info), start=1))
    beyond = max(values, default=0) > len(by_order)
    listed = set(values) <= set(by_idx)
    names = by_order | by_idx if beyond and listed else by_idx | by_order
    for name, value in _mapping(_mapping(info.get("params")).get("label_names")).items():
        if _is_number(value):
            names[value] = str(name)
    return {value: name for value, name in names.items() if name}


def reviewed_slices(info: Mapping[str, Any]) -> frozenset[int]:
    """Slices k that were marked as reviewed, with or without a label."""
    listed = _mapping(info.get("params")).get("reviewed") or info.get("reviewed")
    if not isinstance(listed, list | tuple):
        return frozenset()
    return frozenset(k for k in listed if _is_number(k) and k >= 0)


def _entries(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = info.get("label_info") or _mapping(info.get("params")).get("label_info")
    return [_mapping(entry) for entry in listed] if isinstance(listed, list) else []


def _kept(info: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(info)
    except (TypeError, ValueError, RecursionError):
        return "{}"
    return text if len(text) <= MAX_SENT else json.dumps({"too long": text[:200]})


def _text(thing: object) -> str:
    """Text that a DICOM element may hold: one line without backslash, of limited length."""
    if not isinstance(thing, str):
        return ""
    line = "".join(c if c.isprintable() and c != "\\" else " " for c in thing)
    return line.encode("utf-8", "replace").decode().strip()[:MAX_TEXT].strip()


def _mapping(thing: object) -> Mapping[str, Any]:
    return thing if isinstance(thing, Mapping) else {}


def _is_number(thing: object) -> TypeGuard[int]:
    return isinstance(thing, int) and not isinstance(thing, bool)

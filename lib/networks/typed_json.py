"""Frozen dataclasses to JSON and strictly back: every field there, no other, each of its type.

Fields may be str, int, float, bool, other dataclasses, tuples of one of these, or any of these or
None. A whole number does where a float is wanted; NaN and infinity do nowhere.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_text(value: Any) -> str:
    """A dataclass as JSON, readable, with a line's end.

    Raises:
        ValueError: a number that JSON does not have.
    """
    return json.dumps(asdict(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_text(kind: type[T], text: str) -> T:
    """A dataclass from JSON.

    Raises:
        ValueError: no JSON, or something that is not of that form; the message names the place.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    found: T = _read(kind, content, "")
    return found


def _read(kind: Any, content: Any, place: str) -> Any:
    if get_origin(kind) is UnionType:
        if content is None:
            return None
        (kind,) = (part for part in get_args(kind) if part is not NoneType)
    if is_dataclass(kind):
        return _read_dataclass(kind, content, place)
    if get_origin(kind) is tuple:
        if not isinstance(content, list):
            raise ValueError(f"{_named(place)} is no list")
        part = get_args(kind)[0]
        return tuple(_read(part, item, f"{place}[{n}]") for n, item in enumerate(content))
    if kind is float and type(content) is int:
        return float(content)
    if type(content) is not kind or (kind is float and not math.isfinite(content)):
        raise ValueError(f"{_named(place)} is {str(content)[:40]!r} and no {kind.__name__}")
    return content


def _read_dataclass(kind: Any, content: Any, place: str) -> Any:
    if not isinstance(content, dict):
        raise ValueError(f"{_named(place)} is no object")
    names = [field.name for field in fields(kind)]
    missing = [name for name in names if name not in content]
    unknown = [str(name)[:40] for name in content if name not in names]
    if missing or unknown:
        lacking = f"lacks {', '.join(missing)}" if missing else ""
        extra = f"has the unknown {', '.join(unknown)}" if unknown else ""
        raise ValueError(f"{_named(place)} {' and '.join(filter(None, (lacking, extra)))}")
    kinds = get_type_hints(kind)
    values = {
        name: _read(kinds[name], content[name], f"{place}.{name}".strip(".")) for name in names
    }
    return kind(**values)


def _named(place: str) -> str:
    return place or "the file"

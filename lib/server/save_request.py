"""From what a client sends with a label to checked values; anything else is a sentence.

Other than the parameters of a click, unknown keys are no error: they are kept with the label for
people to look at, and nothing relies on them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lib.errors import ImageError, RequestError
from lib.server.requests import MAX_TEXT, SAVED_TAG, check_image_id

BASED_ON = "based_on"
"""Key of the revision that a label was drawn on, see `lib.server.standing`."""
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".bin")
MAX_NAMES = 4096
MAX_PARAMS = 1 << 19
"""Longest ``params``, in characters; the web server itself takes twice that."""

_TEXTS = ("model", "client_id", "model_version", "algorithm", BASED_ON)


def checked_tag(tag: str | None) -> str:
    """The tag of a label, which becomes the name of a folder; "final" where none is given.

    Raises:
        RequestError: it cannot be one.
    """
    tag = tag or "final"
    if not SAVED_TAG.fullmatch(tag):
        raise RequestError(
            got=f"tag {tag[:MAX_TEXT]!r}",
            allowed="letters, digits, '-' and '_', such as 'original' or 'final'",
            todo="correct 'tag' in the address",
        )
    return tag


def checked_image(image: str) -> str:
    """The id of an image.

    Raises:
        RequestError: none, or one that looks like a path.
    """
    check_image_id(image)
    if not image:
        raise RequestError(
            got="no image",
            allowed="the id of an image",
            todo="add ?image=ID to the address; GET /datastore/?output=all lists the ids",
        )
    return image


def label_suffix(name: str | None) -> str:
    """The kind of a label file by the name its client gave it.

    Raises:
        ImageError: another kind.
    """
    lower = Path(name or "label.nii.gz").name.lower()
    for suffix in SUFFIXES:
        if lower.endswith(suffix):
            return suffix
    raise ImageError(
        got=f"label file {lower[-MAX_TEXT:]!r}",
        allowed="a name that ends in " + ", ".join(SUFFIXES),
        todo="export the segmentation as NIfTI or NRRD",
    )


def decode_info(text: str) -> dict[str, Any]:
    """The JSON object of the form field ``params``.

    Raises:
        RequestError: no JSON object, or a known key with a value of the wrong type.
    """
    try:
        info = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise _wrong(f"params that are no JSON ({str(error)[:MAX_TEXT]})") from error
    if not isinstance(info, dict) or len(text) > MAX_PARAMS:
        raise _wrong("params that are no JSON object, or too long")
    for key in _TEXTS:
        value = info.get(key)
        if value is not None and not (isinstance(value, str) and len(value) <= MAX_TEXT):
            raise _wrong(f"{key!r} that is no text of at most {MAX_TEXT} characters")
    _check_names(info.get("label_info"))
    _check_slices(info.get("reviewed"))
    prompts = info.get("prompts")
    if prompts is not None and not (isinstance(prompts, list) or _is_count(prompts)):
        raise _wrong("'prompts' that are neither a number nor a list")
    if isinstance(prompts, list):
        info["prompts"] = len(prompts)
    return info


def _check_names(entries: object) -> None:
    if entries is None:
        return
    if not isinstance(entries, list) or len(entries) > MAX_NAMES:
        raise _wrong(f"'label_info' that is no list of at most {MAX_NAMES} objects")
    for entry in entries:
        known = isinstance(entry, dict)
        name = entry.get("name") if known else None
        idx = entry.get("idx") if known else None
        named = name is None or (isinstance(name, str) and len(name) <= 2 * MAX_TEXT)
        if not known or not named or not (idx is None or _is_count(idx)):
            raise _wrong("an entry of 'label_info' without text in 'name' or a number in 'idx'")


def _check_slices(slices: object) -> None:
    if slices is not None and not (isinstance(slices, list) and all(map(_is_count, slices))):
        raise _wrong("'reviewed' that is no list of slices, whole numbers from 0")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _wrong(what: str) -> RequestError:
    return RequestError(
        got=what,
        allowed='a JSON object such as {"label_info": [{"name": "liver", "idx": 1}], '
        '"reviewed": [3, 4]}',
        todo="correct the form field 'params'; the label was NOT saved",
    )

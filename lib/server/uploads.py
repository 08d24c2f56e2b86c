"""What a client may send as a file: its name, its kind, its place on disk."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from fastapi import UploadFile

from lib.errors import ImageError, RequestError
from lib.server.pacs_questions import room_for
from lib.server.requests import MAX_TEXT

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".png", ".jpg", ".jpeg")
"""Kinds of images that the datastore lists and `read_volume` opens."""
DICOM_SUFFIXES = (".dcm", ".ima", "")
MAX_PARAMS = 1 << 19
MAX_VALUE = 1024
NEW_ID = re.compile(r"\w[\w .+@=,()-]{0,199}")
"""An id becomes the name of a file, on any system."""


def image_suffix(name: str | None, others: tuple[str, ...] = ()) -> str:
    """The kind of an image by the name its client gave it.

    Args:
        name: any text; only its end counts.
        others: endings that are allowed as well; "" for none at all.

    Raises:
        ImageError: another kind; archives and folders of DICOM are among them.
    """
    last = PurePosixPath((name or "image.nii.gz").replace("\\", "/")).name.lower()
    for suffix in (*IMAGE_SUFFIXES, *filter(None, others)):
        if last.endswith(suffix) and last != suffix:
            return suffix
    if "" in others and "." not in last and last != "dicomdir":
        return ""
    # UIDs are names of DICOM files, too.
    if "" in others and re.fullmatch(r"[\d.]+", last):
        return ""
    raise ImageError(
        got=f"a file named {last[-MAX_TEXT:]!r}",
        allowed="a name that ends in " + ", ".join((*IMAGE_SUFFIXES, *filter(None, others))),
        todo="send the image itself, no archive",
    )


def new_image_id(image: str | None, name: str | None) -> str:
    """The id of an image that is added: the one that was sent, else the name of the file.

    Raises:
        RequestError: it cannot be the name of a file.
    """
    suffix = image_suffix(name)
    last = PurePosixPath((name or "").replace("\\", "/")).name
    id_ = image or last[: len(last) - len(suffix)]
    ending = any(part in id_.lower() for part in IMAGE_SUFFIXES)
    if not NEW_ID.fullmatch(id_) or id_ != id_.strip() or ending:
        raise RequestError(
            got=f"the image id {id_[:MAX_TEXT]!r}",
            allowed="1 to 200 letters, digits, spaces and . _ - + @ = , ( ), without a file ending",
            todo="choose another name with ?image=NAME",
        )
    return id_


def keep(file: UploadFile, path: Path) -> None:
    """Write an upload to disk.

    Raises:
        UnavailableError: the disk is full.
    """
    with room_for("an upload", path.parent), path.open("wb") as target:
        shutil.copyfileobj(file.file, target, 1 << 20)


def decode_object(text: str, field: str, allowed: tuple[str, ...]) -> dict[str, Any]:
    """The JSON object of a form field whose values are short texts, numbers or booleans.

    Raises:
        RequestError: something else, or a key that is not allowed.
    """
    try:
        if len(text) > MAX_PARAMS:
            raise ValueError("too long")
        values = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise _wrong(field, f"no JSON ({str(error)[:MAX_TEXT]})", allowed) from error
    if not isinstance(values, dict):
        raise _wrong(field, "no object", allowed)
    for key, value in values.items():
        if key not in allowed:
            raise _wrong(field, f"the unknown key {key[:MAX_TEXT]!r}", allowed)
        simple = value is None or isinstance(value, bool | int | float | str)
        if not simple or len(str(value)) > MAX_VALUE:
            raise _wrong(field, f"{key!r}, which is no short text", allowed)
    return values


def _wrong(field: str, what: str, allowed: tuple[str, ...]) -> RequestError:
    return RequestError(
        got=f"{field!r} with {what}",
        allowed="a JSON object with the keys " + ", ".join(allowed),
        todo=f"correct the form field {field!r}",
    )

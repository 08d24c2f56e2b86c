"""From what a client sends to one frozen, typed `ClickRequest`.

The host hands over an untyped dict into which any client may write any key. Here is the only
list of keys that are accepted, each with its type; everything else is an error that names the
key and the known ones. The list covers what OHIF's MONAI Label extension and 3D Slicer's module
send: both echo result options, Slicer also echoes the whole ``config`` of the model.

A null counts as not sent: Slicer sends ``"slice": null`` without a click, OHIF sends null for a
number field that was emptied.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from lib.errors import PromptError, RequestError
from lib.options import INTENSITIES, ZOOMS
from lib.prompts.prompt import MAX_POINTS

MAX_TEXT = 128
"""Longest name a client may send, in characters."""
MAX_SECONDS = 3600.0
"""Longest time budget of one request."""
MAX_INDEX = 1 << 31
"""No image has as many voxels along an axis."""

Voxel = tuple[float, float, int]
"""(i, j, k) of the volume; k counts slices and is whole."""
Roi = tuple[float, float, float, float, int, int]
"""(i0, i1, j0, j1, k0, k1), both ends inside, i0 <= i1 and so on."""

RESULT_EXTENSIONS = (".nrrd", ".nii.gz", ".nii")
SAVED_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""A label's tag becomes the name of a folder."""
LABEL_INFO_KEYS = ("name", "idx", "description", "model_name")
SESSION_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""Sessions are named by UUIDs, and the name becomes a folder."""

HOST_KEYS = ("model", "image", "description", "session", "start_label", "start_names")
"""Keys of the host's own dict, and of `lib.server.start_label`; a client's are never used."""
STARTS = ("none", "saved")
OVERLAPS = ("replace", "keep")
OF_VIEWER = "as in the viewer"
"""Choice of ``as_label`` that leaves the name to the viewer."""


@dataclass(frozen=True)
class ClickRequest:
    """One request for one object, as the client meant it.

    Attributes:
        foreground: voxels inside the object.
        background: voxels outside of it.
        slice: the slice to segment, or None for the slice of the last point.
        roi: a box of voxels around the object, or None.
        label: the name the annotator chose, or None.
        as_label: the name for viewers that do not send one (OHIF), or None.
        intensity: how grey values become 8 bit, or None for the server's choice.
        multimask: let the network propose three masks and take the one it rates best.
        zoom: whether to look again at a small target, or None for the server's choice.
        uncertainty: also answer how unsure the network is, pixel by pixel and as one number.
        start: "saved" to begin with the label that was saved for the image, see
            `lib.server.start_label`.
        overlap: "keep" to leave out pixels that other labels of that label map have.
        result_extension: file format of the answer.
        save_label: keep the answer in the datastore.
        label_tag: under this tag.
        time_budget: seconds that the segmentation of a volume may take, or None for the server's.
        threshold: 0..1, the confidence below which a volume's object has ended, or None likewise.
        max_slices: how far an object is carried from the prompted slices, or None for no limit.
        client_id: who asks, as far as the client says.

    Raises:
        PromptError: a voxel is foreground and background at once.
    """

    foreground: tuple[Voxel, ...] = ()
    background: tuple[Voxel, ...] = ()
    slice: int | None = None
    roi: Roi | None = None
    label: str | None = None
    as_label: str | None = None
    intensity: str | None = None
    multimask: bool = True
    zoom: str | None = None
    uncertainty: bool = False
    start: str = "none"
    overlap: str = "replace"
    result_extension: str = ".nrrd"
    save_label: bool = False
    label_tag: str = "original"
    time_budget: float | None = None
    threshold: float | None = None
    max_slices: int | None = None
    client_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse a voxel that is inside and outside at once."""
        both = set(self.foreground) & set(self.background)
        if both:
            # OHIF does exactly this while the row "background" is selected in its label list.
            raise PromptError(
                got=f"voxel {_show(min(both))} as foreground and as background",
                allowed="a point is inside the object or outside of it",
                todo="select the row of a structure instead of 'background', then press Run",
            )

    @classmethod
    def parse(cls, params: Mapping[str, object]) -> ClickRequest:
        """Read a client's parameters.

        Args:
            params: key -> value as JSON gives them, without the `HOST_KEYS`.

        Raises:
            RequestError: an unknown key, or a value of the wrong type.
            PromptError: a point, slice or roi that cannot be one.
        """
        unknown = sorted(set(params) - set(_PARSERS))
        if unknown:
            raise RequestError(
                got="unknown key " + ", ".join(repr(key[:MAX_TEXT]) for key in unknown[:8]),
                allowed=", ".join(_PARSERS),
                todo="remove it from params",
            )
        values: dict[str, Any] = {
            key: _PARSERS[key](key, value) for key, value in params.items() if value is not None
        }
        own = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in own})


def decode_params(text: str, model: str, image: str) -> dict[str, object]:
    """The JSON object of a request's ``params`` field, without the keys that belong to the host.

    The host merges this dict over its own. A client that repeats the model or the image of its
    URL is welcome, one that names others is not; ``description`` and ``session`` are dropped.

    Raises:
        RequestError: no JSON, no object, or another model or image than the URL names.
    """
    try:
        params = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise RequestError(
            got=f"params that are no JSON ({str(error)[:MAX_TEXT]})",
            allowed='a JSON object such as {"foreground": [[120, 80, 14]], "background": []}',
            todo="send params as one JSON object in a form field",
        ) from error
    if not isinstance(params, dict):
        raise RequestError(
            got=f"params that are {_kind(params)}",
            allowed="a JSON object",
            todo="send params as one JSON object in a form field",
        )
    for key, value in (("model", model), ("image", image)):
        if key in params and params[key] != value:
            raise RequestError(
                got=f"{key} {_quote(params[key])} in params and {value!r} in the address",
                allowed=f"the {key} of the address",
                todo=f"remove {key!r} from params",
            )
    return {key: value for key, value in params.items() if key not in HOST_KEYS}


def check_session_id(session_id: str) -> None:
    """Refuse a session id that is no UUID, because it becomes part of a path.

    Raises:
        RequestError: it is none.
    """
    if not SESSION_ID.fullmatch(session_id):
        raise RequestError(
            got=f"session id {session_id[:MAX_TEXT]!r}",
            allowed="the UUID that PUT /session/ returned",
            todo="create a session first",
        )


def check_image_id(image: str) -> None:
    """Refuse an image id that looks like a path, before anything looks for such a file.

    Raises:
        RequestError: it holds a separator, a control character, or is too long.
    """
    if re.search(r"[/\\\x00-\x1f]", image) or image in (".", "..") or len(image) > 1024:
        raise RequestError(
            got=f"image {image[:MAX_TEXT]!r}",
            allowed="an image id of the datastore (GET /datastore/?output=all lists them), no path",
            todo="send the id, or upload the file as a session (PUT /session/)",
        )


def _kind(value: object) -> str:
    """JSON's word for the type of a value."""
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _quote(value: object) -> str:
    """A value as the client wrote it, cut to a length that fits a sentence."""
    text = json.dumps(value)
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."


def _show(voxel: Voxel) -> str:
    return f"({voxel[0]:g}, {voxel[1]:g}, {voxel[2]})"


def _wrong(key: str, value: object, allowed: str) -> RequestError:
    return RequestError(
        got=f"{key} = {_quote(value)}", allowed=allowed, todo=f"correct {key!r} in params"
    )


def _unusable(key: str, value: object, allowed: str) -> PromptError:
    return PromptError(
        got=f"{key} = {_quote(value)}", allowed=allowed, todo=f"correct {key!r} in params"
    )


def _number(value: object) -> float | None:
    """A finite JSON number of a size that an index may have, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # NaN fails the comparison; a whole number too large for a float must not reach float().
    return float(value) if -MAX_INDEX < value < MAX_INDEX else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number == math.floor(number) else None


def _voxels(key: str, value: object) -> tuple[Voxel, ...]:
    """Points: [[i, j, k], ...]; an empty list is no point."""
    if not isinstance(value, list):
        raise _unusable(key, value, "a list of points [i, j, k]")
    if len(value) > MAX_POINTS:
        raise PromptError(
            got=f"{len(value)} points in {key!r}",
            allowed=f"at most {MAX_POINTS}",
            todo="remove points that say the same",
        )
    return tuple(_voxel(key, point) for point in value)


def _voxel(key: str, point: object) -> Voxel:
    if isinstance(point, list) and len(point) == 3:
        i, j, k = _number(point[0]), _number(point[1]), _whole(point[2])
        if i is not None and j is not None and k is not None:
            return i, j, k
    raise PromptError(
        got=f"point {_quote(point)} in {key!r}",
        allowed="three finite numbers [i, j, k] (column, row, slice), k whole",
        todo="send voxel indices of the volume",
    )


def _slice(key: str, value: object) -> int:
    k = _whole(value)
    if k is None:
        raise _unusable(key, value, "a whole number, the index k of a slice")
    return k


def _roi(key: str, value: object) -> Roi:
    """[i0, i1, j0, j1, k0, k1]; Slicer's corners come in any order, they are sorted here."""
    entries = value if isinstance(value, list) else []
    numbers = [n for n in map(_number, entries) if n is not None]
    if len(entries) != 6 or len(numbers) != 6:
        allowed = "six finite numbers [i0, i1, j0, j1, k0, k1], voxels of two corners"
        raise _unusable(key, value, allowed)
    (i0, i1), (j0, j1), (k0, k1) = (sorted(numbers[n : n + 2]) for n in (0, 2, 4))
    return i0, i1, j0, j1, round(k0), round(k1)


def _between(low: float, high: float) -> Callable[[str, object], float]:
    """A number of a range; clients whose forms know only text send it as text."""

    def parse(key: str, value: object) -> float:
        try:
            number = _number(float(value) if isinstance(value, str) else value)
        except ValueError:
            number = None
        if number is None or not low <= number <= high:
            raise _wrong(key, value, f"a number from {low:g} to {high:g}")
        return number

    return parse


def _count(key: str, value: object) -> int:
    return math.floor(_between(1, MAX_INDEX - 1)(key, value))


def _flag(key: str, value: object) -> bool:
    """A boolean; clients that keep options as text or numbers send "true" or 1."""
    if isinstance(value, bool):
        return value
    if value in (0, 1) and isinstance(value, int):
        return bool(value)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise _wrong(key, value, "true or false")


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise _wrong(key, value, f"text of at most {MAX_TEXT} characters")
    return value


def _name(key: str, value: object) -> str | None:
    """A label's name; nothing where a client sends empty text."""
    return _text(key, value).strip() or None


def _chosen_name(key: str, value: object) -> str | None:
    """A name of the list that ``config`` offers."""
    name = _first(_text)(key, value).strip()
    return None if name in ("", OF_VIEWER) else name


def _first(parse: Callable[[str, object], str]) -> Callable[[str, object], str]:
    """A choice of ``config``: its list as it is (the first is chosen), or the one chosen."""

    def parse_first(key: str, value: object) -> str:
        return parse(key, value[0] if isinstance(value, list) and value else value)

    return parse_first


def _first_flag(key: str, value: object) -> bool:
    """A boolean, or the first one of a list of them."""
    return _flag(key, value[0] if isinstance(value, list) and value else value)


def _word_of(allowed: tuple[str, ...]) -> Callable[[str, object], str]:
    def parse(key: str, value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise _wrong(key, value, "one of " + ", ".join(allowed))
        return value

    return parse


def _tag(key: str, value: object) -> str:
    if not isinstance(value, str) or not SAVED_TAG.fullmatch(value):
        raise _wrong(key, value, "letters, digits, '-' and '_', such as 'original' or 'final'")
    return value


def _label_info(key: str, value: object) -> None:
    """Names for the segments of ``output=dicom_seg``; only checked here, the host reads them."""
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        if not isinstance(entry, dict) or not set(entry) <= set(LABEL_INFO_KEYS):
            allowed = f"a list of objects with the keys {', '.join(LABEL_INFO_KEYS)}"
            raise _wrong(key, value, allowed)
        for text in ("name", "description", "model_name"):
            _text(f"{key}.{text}", entry.get(text, ""))


_PARSERS: dict[str, Callable[[str, object], Any]] = {
    # What is segmented, and where.
    "foreground": _voxels,
    "background": _voxels,
    "slice": _slice,
    "roi": _roi,
    "label": _name,
    "as_label": _chosen_name,
    # How.
    "intensity": _first(_word_of(INTENSITIES)),
    "multimask": _flag,
    "zoom": _first(_word_of(ZOOMS)),
    "uncertainty": _first_flag,
    # From what, and beside what.
    "start": _first(_word_of(STARTS)),
    "overlap": _first(_word_of(OVERLAPS)),
    # How far an object is carried through a volume.
    "time_budget": _between(0.1, MAX_SECONDS),
    "threshold": _between(0, 1),
    "max_slices": _count,
    # Who asks: a newer request of the same user for the same object makes an older one stop.
    "client_id": _text,
    # The answer. It is always a compressed file of uint8 with the value 1; clients say more.
    "result_extension": _word_of(RESULT_EXTENSIONS),
    "result_dtype": _word_of(("uint8",)),
    "result_compress": _flag,
    "restore_label_idx": _flag,
    "label_info": _label_info,
    "save_label": _flag,
    "label_tag": _first(_tag),
    # Sent along by clients; without effect here. The server chose its device when it started.
    "device": _first(_text),
    "reset_state": _flag,
    "logging": _text,
}

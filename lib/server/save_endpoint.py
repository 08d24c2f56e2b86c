"""``PUT``, ``GET`` and ``HEAD /datastore/label`` in threads, with everything checked.

The endpoints of 0.8.5 are ``async def`` and do their work in place: while a label goes to the PACS
the server answers nobody. They join tag and file name to paths, take any file for a label on any
grid, answer 500 to params that are no JSON, and hand out labels of a PACS not at all. Their routes
are made again, with the same addresses, forms and sign-in.

Concurrency contract: the functions run in as many threads at the same time as the web server has.
The datastores have their own locks; final labels of one image are saved in turn, and both are kept
(`lib.server.standing`).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol
from urllib.parse import quote

import monailabel.endpoints.datastore
from fastapi import Response, UploadFile
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import get_mime_type

from lib.imaging.volume import ReadLimits
from lib.options import AppOptions
from lib.server.audit import record
from lib.server.datastore import FINAL, PacsDatastore
from lib.server.dispatch import image_path
from lib.server.host_routes import exchange
from lib.server.label_check import RAW, grid_of, read_label_map
from lib.server.pacs_labels import no_label
from lib.server.pacs_questions import room_for
from lib.server.save_request import (
    BASED_ON,
    checked_image,
    checked_tag,
    decode_info,
    label_suffix,
)
from lib.server.standing import check_base, standing_of, told_of, told_of_others, turns

_host = monailabel.endpoints.datastore
_save, _get, _check = _host.api_save_label, _host.api_download_label, _host.api_check_label


class App(Protocol):
    """What this module needs of the host's MONAILabelApp."""

    options: AppOptions

    def datastore(self) -> Datastore:
        """Images and labels."""

    def on_save_label(self, image_id: str, label_id: str) -> dict[str, Any] | None:
        """A final label was saved."""


@dataclass(frozen=True)
class Saved:
    """What became of a label.

    Attributes:
        label: its id.
        stored: it is where it belongs; false while it waits for the PACS.
        note: a sentence for the person who saved it.
        replaced: a sentence on the label that stood before; empty where there was none.
        revision: of this label, see `lib.server.standing`; empty where it is no final one.
    """

    label: str
    stored: bool
    note: str
    replaced: str = ""
    revision: str = ""


def thread_labels() -> None:
    """Exchange the routes; to be called before the first request, and may be called again.

    Raises:
        LookupError: the host has no such routes.
    """
    for original, answer in ((_save, answer_save), (_get, answer_get), (_check, answer_check)):
        exchange(_host.router, original, answer)


def answer_save(user: Any = None, **values: Any) -> dict[str, Any]:
    """``PUT``: what the host calls with the parts of a request; no coroutine, so in a thread."""
    return save_label(app_instance(), str(getattr(user, "username", "") or ""), **values)


def answer_get(label: str, tag: str, user: object = None) -> Response:
    """``GET``: the file of a label."""
    path = label_path(app_instance().datastore(), label, tag)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:  # replaced by a newer one at this moment
        raise no_label(label, tag) from error
    name = quote(path.name if path.name.startswith(label) else f"{label}.nii.gz")
    headers = {"Content-Disposition": f"attachment; filename*=utf-8''{name}"}
    return Response(content, media_type=get_mime_type(str(path)), headers=headers)


def answer_check(image: str, tag: str, user: object = None) -> Response:
    """``HEAD``: whether there is a label."""
    label_path(app_instance().datastore(), image, tag)
    return Response()


def save_label(
    app: App,
    user: str,
    image: str,
    label: UploadFile,
    params: str = "{}",
    tag: str = FINAL,
    background_tasks: object = None,
) -> dict[str, Any]:
    """Store a label.

    Args:
        app: of the host.
        user: who is signed in.
        image: id of the image.
        label: a label map on the image's grid.
        params: JSON object, see `lib.server.save_request`.
        tag: "final" for what a person stands behind.
        background_tasks: not used.

    Returns:
        Ids of image and label, the tag, whether it is stored, and a sentence for the user.

    Raises:
        Samed2dError: whatever is wrong with the request, the file or the disk.
    """
    image, tag, info = checked_image(image), checked_tag(tag), decode_info(params or "")
    suffix = label_suffix(label.filename)
    info["user"] = user
    base = info.pop(BASED_ON, None)
    with TemporaryDirectory(prefix="samed2d-save-") as folder:
        path = Path(folder, f"label{suffix}")
        with room_for("a label", path.parent), path.open("wb") as target:
            shutil.copyfileobj(label.file, target)
        limits = ReadLimits(max_voxels=app.options.max_voxels)
        if tag != FINAL:
            saved = _store(app.datastore(), image, path, tag, info, limits)
        else:
            saved = _replace(app.datastore(), image, path, base, info, limits)
    record("label saved", image, tag=tag, stored=saved.stored, replaces=bool(saved.replaced))
    said = app.on_save_label(image, saved.label) if tag == FINAL else None
    answer = {"image": image, "label": saved.label, "tag": tag, "revision": saved.revision}
    note = saved.note + saved.replaced
    return {**(said or {}), **answer, "stored": saved.stored, "note": note}


def label_path(datastore: Datastore, image: str, tag: str) -> Path:
    """The file of a label.

    Raises:
        RequestError: an impossible id or tag.
        NotFoundError: no such label.
        UnavailableError: the PACS does not answer.
    """
    image, tag = checked_image(image), checked_tag(tag)
    uri = datastore.get_label_uri(image, tag)
    if not uri or not Path(uri).is_file():
        raise no_label(image, tag)
    return Path(uri)


def _replace(
    datastore: Datastore,
    image: str,
    path: Path,
    base: str | None,
    info: dict[str, Any],
    limits: ReadLimits,
) -> Saved:
    """Store a final label, unless it was drawn without knowing the one that stands.

    Raises:
        ConflictError: it was; nothing is stored.
    """
    with turns(image):
        before = standing_of(datastore, image, fresh=True)
        check_base(before, base)
        saved = _store(datastore, image, path, FINAL, info, limits)
        after = standing_of(datastore, image)
    revision = saved.revision or (after.revision if after else "")
    told = told_of(before) + told_of_others(before, after, revision)
    return replace(saved, replaced=told, revision=revision)


def _store(
    datastore: Datastore, image: str, path: Path, tag: str, info: dict[str, Any], limits: ReadLimits
) -> Saved:
    if isinstance(datastore, PacsDatastore) and tag == FINAL:
        entry = datastore.save_final(image, path, info)
        if entry.state == "stored":
            return Saved(image, True, "The label is in the PACS.", revision=entry.series_uid)
        why = entry.problem or "the PACS has not answered yet."
        note = f"The label is kept here and will be sent to the PACS again. {why}"
        return Saved(image, False, note, revision=entry.series_uid)
    grid = grid_of(Path(image_path(datastore, image)), limits)
    map_ = read_label_map(path, grid, limits)
    if path.name.endswith(RAW):
        path = path.with_name("label.nii.gz")
        map_.write(path)
    with room_for("a label", path.parent):
        label_id = datastore.save_label(image, str(path), tag, info)
    return Saved(str(label_id), True, "The label is saved.")

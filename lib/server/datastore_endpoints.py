"""The host's routes under ``/datastore`` for images and facts, with everything checked.

Those of 0.8.5 take any text for an id and join it to paths, keep any JSON as facts about an image,
replace an image that has labels without a word, follow links when they remove files, and answer 500
to JSON that is none. Labels have `lib.server.save_endpoint`.

Concurrency contract: the functions run in as many threads at the same time as the web server has;
``_adding`` is held while an image is added, so that of two with one id the second is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import monailabel.endpoints.datastore
from fastapi import UploadFile
from fastapi.background import BackgroundTasks
from fastapi.responses import FileResponse, Response
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import file_checksum, get_mime_type

from lib.errors import NotFoundError, RequestError
from lib.options import AppOptions
from lib.server.audit import record
from lib.server.datastore import FINAL, PacsDatastore
from lib.server.dispatch import image_path
from lib.server.host_routes import exchange
from lib.server.odd_files import check_image
from lib.server.pacs_labels import no_label
from lib.server.pacs_questions import room_for
from lib.server.save_request import checked_image, checked_tag, decode_info
from lib.server.standing import standing_of
from lib.server.uploads import decode_object, image_suffix, keep, new_image_id

IMAGE_FACTS = ("client_id", "description", "comment")
LABEL_FACTS = (
    *("label_info", "reviewed", "prompts", "model", "model_version", "client_id", "algorithm"),
    *("description", "comment"),
)
CHECKSUMS = ("SHA256", "SHA512", "MD5")
_host = monailabel.endpoints.datastore
_adding = threading.Lock()


class App(Protocol):
    """What this module needs of the host's MONAILabelApp."""

    options: AppOptions

    def datastore(self) -> Datastore:
        """Images and labels."""


def check_datastore() -> None:
    """Exchange the routes; to be called before the first request, and may be called again."""
    pairs: tuple[tuple[Callable[..., object], Callable[..., object]], ...] = (
        (_host.api_add_image, answer_add_image),
        (_host.api_remove_image, answer_remove_image),
        (_host.api_check_image, answer_check_image),
        (_host.api_download_image, answer_image),
        (_host.api_get_image_info, answer_image_info),
        (_host.api_put_image_info, answer_put_image_info),
        (_host.api_remove_label, answer_remove_label),
        (_host.api_get_label_info, answer_label_info),
        (_host.api_put_label_info, answer_put_label_info),
        (_host.api_update_label_info, answer_update_label_info),
        (_host.api_download_dataset, answer_dataset),
    )
    for original, answer in pairs:
        exchange(_host.router, original, answer)


def answer_add_image(
    file: UploadFile,
    image: str | None = None,
    params: str = "{}",
    user: Any = None,
    background_tasks: object = None,
) -> dict[str, str]:
    """``PUT /datastore/image``: an image that can be read, under an id that nothing has yet.

    Raises:
        RequestError: a bad id or facts, an id that is taken, or a server whose images are a PACS's.
        ImageError: no image, or one beyond the limits.
        UnavailableError: the disk is full.
    """
    app: App = app_instance()
    datastore = app.datastore()
    _refuse_pacs(datastore, "an image", "store it in the PACS, or send it with PUT /session/")
    id_, facts = new_image_id(image, file.filename), decode_object(params, "params", IMAGE_FACTS)
    facts["user"] = _name(user)
    with TemporaryDirectory(prefix="samed2d-add-") as folder:
        path = Path(folder, f"image{image_suffix(file.filename)}")
        keep(file, path)
        check_image(path, app.options.max_voxels)
        with _adding:
            _add(datastore, id_, path, facts)
    record("image added", id_)
    return {"image": id_}


def answer_remove_image(id: str, user: object = None) -> dict[str, str]:
    """``DELETE /datastore/image``: an image of a folder, with its labels.

    Raises:
        RequestError: a bad id, an image of a PACS, or a link to a file elsewhere.
        NotFoundError: no such image.
    """
    datastore = app_instance().datastore()
    _refuse_pacs(datastore, "a request to remove an image", "remove it in the PACS")
    id_ = checked_image(id)
    path = image_path(datastore, id_)
    if not Path(path).exists():  # removed a moment ago, which the host has not noticed
        raise NotFoundError(got=f"image {id_!r}, which was removed", allowed="images that exist")
    _check_inside(datastore, path)
    for tag in datastore.get_labels_by_image_id(id_):
        _check_inside(datastore, datastore.get_label_uri(id_, tag))
    with room_for("a change", _root(datastore)):
        datastore.remove_image(id_)
    record("image removed", id_)
    return {}


def answer_image(image: str, user: object = None) -> Response:
    """``GET /datastore/image``: its file."""
    path = _image_file(image)
    return FileResponse(path, media_type=get_mime_type(str(path)), filename=path.name)


def answer_check_image(
    image: str, check_sum: str | None = None, user: object = None
) -> dict[str, str]:
    """``HEAD /datastore/image``: whether it is there, and is that file.

    Args:
        image: id.
        check_sum: hexadecimal SHA-256, or with the name of another algorithm: "MD5:0123...".
        user: not used.

    Raises:
        NotFoundError: no such image, or another file.
        RequestError: a bad id or another algorithm.
    """
    path = _image_file(image)
    if check_sum:
        algorithm, _, digest = check_sum.rpartition(":")
        algorithm = algorithm or CHECKSUMS[0]
        if algorithm not in CHECKSUMS:
            raise RequestError(
                got=f"a checksum by {algorithm[:64]!r}",
                allowed=", ".join(CHECKSUMS),
                todo="send check_sum as SHA256:DIGITS",
            )
        if file_checksum(path, algo=algorithm) != f"{algorithm}:{digest.lower()}":
            raise NotFoundError(got="another checksum than the image's", allowed="that of the file")
    return {}


def answer_image_info(image: str, user: object = None) -> dict[str, Any]:
    """``GET /datastore/image/info``: what the datastore knows of it."""
    datastore = app_instance().datastore()
    found = datastore.get_image_info(checked_image(image))
    if not found:
        image_path(datastore, image)  # or it says that there is none
    return dict(found)


def answer_put_image_info(image: str, info: str = "{}", user: object = None) -> dict[str, str]:
    """``PUT /datastore/image/info``: facts about an image."""
    datastore = app_instance().datastore()
    facts = decode_object(info, "info", IMAGE_FACTS)
    image_path(datastore, checked_image(image))
    with room_for("a change", _root(datastore)):
        datastore.update_image_info(image, {**facts, "user": _name(user)})
    return {}


def answer_label_info(label: str, tag: str, user: object = None) -> dict[str, Any]:
    """``GET /datastore/label/info``: what is known of a label; nothing where there is none.

    With the revision of a final one, so who reads it before the label's file can say on which label
    they draw (`lib.server.standing`).
    """
    datastore, label, tag = app_instance().datastore(), checked_image(label), checked_tag(tag)
    standing = standing_of(datastore, label) if tag == FINAL else None
    found = dict(datastore.get_label_info(label, tag))
    return {**found, "revision": standing.revision} if found and standing else found


def answer_put_label_info(
    label: str, tag: str, info: str = "{}", user: object = None
) -> dict[str, str]:
    """``PUT /datastore/label/info``: facts about a label of this computer.

    Raises:
        RequestError: a bad id, tag, key or value; a final label of a PACS.
        NotFoundError: no such label.
    """
    datastore = app_instance().datastore()
    label, tag = checked_image(label), checked_tag(tag)
    facts = decode_info(info)
    unknown = sorted(key[:64] for key in facts if key not in LABEL_FACTS)
    if unknown:
        raise RequestError(
            got="unknown key " + ", ".join(map(repr, unknown[:8])),
            allowed=", ".join(LABEL_FACTS),
            todo="leave it out",
        )
    if tag == "final":
        _refuse_pacs(datastore, "facts about a final label", "save the label again with them")
    if not datastore.get_label_uri(label, tag):
        raise no_label(label, tag)
    with room_for("a change", _root(datastore)):
        datastore.update_label_info(label, tag, {**facts, "user": _name(user)})
    record("label facts changed", label, tag=tag)
    return {}


def answer_update_label_info(
    label: str, tag: str, params: str = "{}", user: object = None
) -> dict[str, str]:
    """``PUT /datastore/updatelabelinfo``: the same under its old name."""
    return answer_put_label_info(label, tag, params, user)


def answer_remove_label(id: str, tag: str, user: object = None) -> dict[str, str]:
    """``DELETE /datastore/label``: a label of this computer.

    Raises:
        RequestError: a bad id or tag, a final label of a PACS, or a link to a file elsewhere.
        NotFoundError: no such label.
    """
    datastore = app_instance().datastore()
    label, tag = checked_image(id), checked_tag(tag)
    if not (isinstance(datastore, PacsDatastore) and tag == "final"):
        path = datastore.get_label_uri(label, tag)
        if not path or not Path(path).exists():
            raise no_label(label, tag)
        _check_inside(datastore, path)
    with room_for("a change", _root(datastore)):
        datastore.remove_label(label, tag)
    record("label removed", label, tag=tag)
    return {}


def answer_dataset(
    background_tasks: BackgroundTasks | None = None,
    limit_cases: int | None = None,
    user: object = None,
) -> Response:
    """``GET /datastore/dataset``: all labelled images with their labels as ZIP.

    Raises:
        RequestError: a number of cases below 1.
        NotFoundError: nothing is labelled.
    """
    if limit_cases is not None and limit_cases < 1:
        raise RequestError(got=f"limit_cases = {limit_cases}", allowed="a whole number from 1")
    datastore = app_instance().datastore()
    if not datastore.get_labeled_images():
        raise NotFoundError(
            got="a question for labelled images", allowed="at least one", todo="save a label first"
        )
    with room_for("an archive", _root(datastore)):
        path = Path(datastore.get_dataset_archive(limit_cases))
    record("dataset taken", cases=limit_cases)
    return _OnceFile(path, media_type="application/zip", filename="dataset.zip")


class _OnceFile(FileResponse):
    """A file that is removed when it was sent, or could not be."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            Path(self.path).unlink(missing_ok=True)


def _image_file(image: str) -> Path:
    path = Path(image_path(app_instance().datastore(), checked_image(image)))
    if not path.is_file():
        raise NotFoundError(got=f"image {image[:128]!r} without a file", allowed="one with a file")
    return path


def _add(datastore: Datastore, image: str, path: Path, facts: dict[str, Any]) -> None:
    if datastore.get_image_uri(image):
        raise RequestError(
            got=f"the id {image!r}, which an image has",
            allowed="an id that no image has yet",
            todo="choose another name with ?image=NAME, or have the old one removed",
        )
    name = path.name.removeprefix("image")
    try:
        with room_for("an image", path.parent):
            datastore.add_image(image, str(path), facts)
    except BaseException:
        with suppress(OSError):
            (_root(datastore) / f"{image}{name}").unlink(missing_ok=True)
        raise


def _refuse_pacs(datastore: Datastore, what: str, todo: str) -> None:
    if isinstance(datastore, PacsDatastore):
        raise RequestError(
            got=f"{what}, for a server whose images are in a PACS",
            allowed="this for images of a folder",
            todo=todo,
        )


def _root(datastore: Any) -> Path:
    return Path(str(datastore._datastore_path)).resolve()


def _check_inside(datastore: Datastore, path: str) -> None:
    """Refuse to touch a file that lies elsewhere, to which a link in the folder leads."""
    if not Path(path).resolve().is_relative_to(_root(datastore)):
        raise RequestError(
            got="a request to remove a file that is only linked into the folder of images",
            allowed="files that lie in that folder",
            todo="remove the link on the server's computer",
        )


def _name(user: object) -> str:
    return str(getattr(user, "username", "") or "")

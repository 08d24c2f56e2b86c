"""What ``POST /infer/{model}`` does between the HTTP form and the app.

Takes the place of `monailabel.endpoints.infer.run_inference` (0.8.5), which

* lets ``params`` overwrite model, image, session and every other key of the request,
* answers 500 where ``params`` is no JSON, and where no image is named,
* joins the session id to a path, and where there is no such session goes on without an image,
* collects the whole ``/info`` for each click, which asks the PACS for all its series,
* forgets its temporary files when a request fails.

The form, the answers and their formats are the host's.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from fastapi import Response, UploadFile
from fastapi.background import BackgroundTasks
from monailabel.datastore.utils.convert import nifti_to_dicom_seg
from monailabel.endpoints.infer import send_response
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.sessions import Sessions
from requests_toolbelt import MultipartEncoder

from lib.errors import NotFoundError, PromptError, RequestError
from lib.server.datastore import PacsDatastore
from lib.server.dispatch import Task, find_task, image_path, label_info
from lib.server.infer import UNCERTAINTY_FILE
from lib.server.requests import check_image_id, check_session_id, decode_params
from lib.server.start_label import FILE_KEY


class App(Protocol):
    """What this function needs of the host's MONAILabelApp."""

    _infers: Mapping[str, Task]

    def infer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Find the image, call the task; see `lib.server.dispatch`."""

    def datastore(self) -> Datastore:
        """Images and labels."""

    def sessions(self) -> Sessions | None:
        """Uploads; None where they are switched off."""


def run_inference(
    background_tasks: BackgroundTasks,
    model: str,
    image: str = "",
    session_id: str = "",
    params: str = "{}",
    file: UploadFile | None = None,
    label: UploadFile | None = None,
    output: str | None = None,
) -> object:
    """Answer one request of a viewer.

    Args:
        background_tasks: run by the web server after the answer was sent.
        model: name in the address.
        image: id in the datastore; not used where a session or a file is given.
        session_id: of an image uploaded before.
        params: JSON object, see `ClickRequest`.
        file: an image sent along.
        label: a label map to start from, see `lib.server.start_label`.
        output: "image" (the file), "json" (the facts), "dicom_seg", or a form with file and facts,
            and with the uncertainty map where it was asked for.

    Raises:
        Samed2dError: whatever is wrong with the request, the image or the network.
    """
    app: App = app_instance()
    find_task(app._infers, model)
    checked = decode_params(params or "", model, image)
    if output == "dicom_seg":
        _check_dicom_seg(app, image, stored=not session_id and not file)
        checked.pop("uncertainty", None)  # there is no place for it
    uploaded: list[Path] = []
    try:
        if session_id:
            image = _session_image(app, session_id)
        elif file:
            uploaded.append(_keep(file))
            image = str(uploaded[0])
        else:
            _check_image(image)
        request = {**checked, "model": model, "image": image}
        if label is not None:
            uploaded.append(_keep(label))
            request[FILE_KEY] = uploaded[-1]
        result = app.infer(request)
    finally:
        for path in uploaded:
            path.unlink(missing_ok=True)
    if output == "dicom_seg":
        _add_dicom_seg(app, image, result, checked, background_tasks)
    return _respond(app, result, output, background_tasks)


def _respond(
    app: App, result: dict[str, Any], output: str | None, background_tasks: BackgroundTasks
) -> object:
    """The host's answer; where it is a form and there is an uncertainty map, with that as well."""
    response = send_response(app.datastore(), result, output, background_tasks)
    if UNCERTAINTY_FILE not in result:
        return response
    path = Path(result[UNCERTAINTY_FILE])
    try:
        if output in ("image", "json", "dicom_seg"):
            return response
        return _form(result, path)
    finally:
        path.unlink(missing_ok=True)


def _form(result: dict[str, Any], uncertainty: Path) -> Response:
    """The host's form of ``params`` and ``image`` with a third field ``uncertainty``."""
    image = Path(result["file"])
    form = MultipartEncoder(
        fields={
            "params": (None, json.dumps(result["params"]), "application/json"),
            "image": (image.name, image.read_bytes(), "application/octet-stream"),
            "uncertainty": (uncertainty.name, uncertainty.read_bytes(), "application/octet-stream"),
        }
    )
    return Response(content=form.to_string(), media_type=form.content_type)


def _check_image(image: str) -> None:
    if not image:
        raise RequestError(
            got="neither image nor session nor file",
            allowed="one of them",
            todo="add ?image=ID to the address; GET /datastore/?output=all lists the ids",
        )
    check_image_id(image)


def _session_image(app: App, session_id: str) -> str:
    """Path of the image a client uploaded before."""
    check_session_id(session_id)
    sessions = app.sessions()
    session = None if sessions is None else sessions.get_session(session_id)
    if session is None:
        raise NotFoundError(
            got=f"session {session_id}",
            allowed="a session that PUT /session/ returned and that has not expired",
            todo="upload the image again",
        )
    return str(session.image)


def _keep(file: UploadFile) -> Path:
    """Write an upload to a temporary file that ends like the client's."""
    name = Path(file.filename or "image.nii.gz").name.lower()
    suffix = ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix[:16]
    handle, path = tempfile.mkstemp(prefix="samed2d-upload-", suffix=suffix)
    with os.fdopen(handle, "wb") as target:
        shutil.copyfileobj(file.file, target)
    return Path(path)


def _check_dicom_seg(app: App, image: str, stored: bool) -> None:
    """Refuse DICOM SEG where there are no DICOM files to refer to."""
    if not stored or not isinstance(app.datastore(), PacsDatastore):
        raise RequestError(
            got="output=dicom_seg for an image that is not in a PACS",
            allowed="image, json, all",
            todo="serve the images from a DICOMweb server, or ask for output=image",
        )


def _add_dicom_seg(
    app: App,
    image: str,
    result: dict[str, Any],
    params: dict[str, object],
    background_tasks: BackgroundTasks,
) -> None:
    """Convert the answer to DICOM SEG beside it, under ``result["dicom_seg"]``."""
    folder = Path(image_path(app.datastore(), image)).with_name(image)
    names = params.get("label_info") or label_info(result["params"])
    try:
        made = nifti_to_dicom_seg(str(folder), result["file"], names)
    except BaseException:
        Path(result["file"]).unlink(missing_ok=True)
        raise
    if not made:
        Path(result["file"]).unlink(missing_ok=True)
        raise PromptError(
            got="an empty mask, which DICOM SEG cannot hold",
            allowed="a mask with at least one pixel",
            todo="click on the object itself, or draw a box around it",
        )
    background_tasks.add_task(Path(made).unlink, missing_ok=True)
    result["dicom_seg"] = made

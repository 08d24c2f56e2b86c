"""The host's routes under ``/session``: images that clients upload for themselves.

Those of 0.8.5 unpack any archive, join the client's file names to a path, and let everybody with
the id read an image. Here the files get names of ours, and a session is its owner's, see
`lib.server.sessions`.

Concurrency contract: the functions share nothing.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import monailabel.endpoints.session
from fastapi import UploadFile
from fastapi.responses import FileResponse
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import get_mime_type
from monailabel.utils.sessions import SessionInfo, Sessions

from lib.errors import NotFoundError, RequestError
from lib.server.host_routes import exchange
from lib.server.odd_files import check_image
from lib.server.pacs_questions import room_for
from lib.server.requests import MAX_TEXT
from lib.server.uploads import DICOM_SUFFIXES, image_suffix, keep

MAX_FILES = 1000
"""So many the web server takes in one form."""
MAX_EXPIRY = 7 * 24 * 3600

_host = monailabel.endpoints.session


def check_sessions() -> None:
    """Exchange the routes; to be called before the first request, and may be called again."""
    exchange(_host.router, _host.api_create_session, answer_create)
    exchange(_host.router, _host.api_get_session, answer_session)
    exchange(_host.router, _host.api_remove_session, answer_remove)


def answer_create(
    files: list[UploadFile],
    uncompress: bool = False,
    expiry: int = 0,
    user: object = None,
    background_tasks: object = None,
) -> dict[str, Any]:
    """``PUT /session/``: one image, or the DICOM files of one series.

    Raises:
        RequestError: an archive, too many files, or a time that is none.
        ImageError: a name of another kind of file.
        UnavailableError: the disk is full.
    """
    sessions = _sessions()
    if uncompress:
        raise _wrong("an archive to unpack", "images as they are", "send the files one by one")
    if not 0 <= expiry <= MAX_EXPIRY:
        allowed = f"0 (the server's choice) to {MAX_EXPIRY} seconds"
        raise _wrong(f"expiry = {expiry}", allowed, "correct it in the address")
    if not 0 < len(files) <= MAX_FILES:
        raise _wrong(f"{len(files)} files", f"1 to {MAX_FILES}", "send one series at a time")
    suffixes = [image_suffix(file.filename, DICOM_SUFFIXES) for file in files]
    with TemporaryDirectory(prefix="samed2d-session-") as folder:
        series = Path(folder, "series")
        series.mkdir()
        paths = [series / f"image{n:04d}{suffix}" for n, suffix in enumerate(suffixes)]
        for file, path in zip(files, paths, strict=True):
            keep(file, path)
        source = paths[0] if len(paths) == 1 else series
        check_image(source, app_instance().options.max_voxels)
        with room_for("a session", Path(folder)):
            session_id, session = sessions.add_session(str(source), expiry)
    return {"session_id": session_id, "session_info": _facts(session)}


def answer_session(
    session_id: str, update_ts: bool = False, image: bool = False, user: object = None
) -> Any:
    """``GET /session/{session_id}``: what is known of it, or its image."""
    session = _find(session_id, update_ts)
    if not image:
        return _facts(session)
    path = Path(session.image)
    if not path.is_file():
        raise NotFoundError(got="a session of several files", allowed="one of a single file")
    return FileResponse(path, media_type=get_mime_type(str(path)), filename=path.name)


def answer_remove(session_id: str, user: object = None) -> dict[str, Any]:
    """``DELETE /session/{session_id}``."""
    session = _find(session_id)
    _sessions().remove_session(session_id)
    return _facts(session)


def _find(session_id: str, update_ts: bool = False) -> SessionInfo:
    session = _sessions().get_session(session_id, update_ts=update_ts)
    if session is None:
        raise NotFoundError(
            got=f"session {session_id[:MAX_TEXT]!r}",
            allowed="a session of your own that PUT /session/ returned and that has not expired",
            todo="upload the image again",
        )
    return session


def _facts(session: SessionInfo) -> dict[str, Any]:
    return dict(session.to_json())


def _sessions() -> Sessions:
    sessions = app_instance().sessions()
    if sessions is None:
        raise _wrong("a session", "none on this server", "set MONAI_LABEL_SESSIONS=true")
    return sessions


def _wrong(got: str, allowed: str, todo: str) -> RequestError:
    return RequestError(got=got, allowed=allowed, todo=todo)

"""The host's other routes: logs, weight files, whole slides, files of the bundled OHIF.

Of those of 0.8.5

* ``/logs/`` answers 500 to numbers of lines that are none and shows the log with scripts from the
  internet, ``/logs/gpu`` answers 500 where there is no ``nvidia-smi``,
* ``PUT`` and ``DELETE /model/{model}`` exchange weights for a file that nobody has looked at,
* ``/infer/wsi`` ends in errors of its own, there being no whole slides here,
* ``/ohif/`` joins a path with the wrong separator, so icons are never found, and answers 500 to
  folders.

Concurrency contract: the functions share nothing.
"""

from __future__ import annotations

import html as markup
import itertools
import shutil
import subprocess
from collections import deque
from pathlib import Path
from typing import Any, NoReturn

import monailabel.endpoints.logs
import monailabel.endpoints.model
import monailabel.endpoints.ohif
import monailabel.endpoints.wsi_infer
from fastapi.responses import FileResponse, PlainTextResponse, Response
from monailabel.config import settings
from monailabel.utils.others.generic import get_mime_type

from lib.errors import NotFoundError, RequestError, UnavailableError
from lib.server.host_routes import exchange
from lib.server.requests import MAX_TEXT

MAX_LINES = 100_000
GPU_SECONDS = 20
_logs, _model = monailabel.endpoints.logs, monailabel.endpoints.model
_ohif, _wsi = monailabel.endpoints.ohif, monailabel.endpoints.wsi_infer
OHIF_FOLDER = Path(_ohif.__file__).resolve().parent / "static" / "ohif"


def check_others() -> None:
    """Exchange the routes; to be called before the first request, and may be called again."""
    exchange(_logs.router, _logs.api_get_logs, answer_logs)
    exchange(_logs.router, _logs.gpu_info, answer_gpu)
    exchange(_model.router, _model.api_download_model, answer_no_weights)
    exchange(_model.router, _model.api_model_info, answer_no_weights_info)
    exchange(_model.router, _model.api_update_model, refuse_weights)
    exchange(_model.router, _model.api_delete_model, refuse_removal)
    exchange(_wsi.router, _wsi.api_run_wsi_inference, refuse_whole_slide)
    exchange(_wsi.router, _wsi.api_run_wsi_v2_inference, refuse_whole_slide_form)
    exchange(_ohif.router, _ohif.api_get_ohif, answer_ohif)


def answer_logs(
    lines: int | None = 300,
    html: bool | None = True,
    text: bool | None = False,
    refresh: int | None = 0,
    user: object = None,
) -> Response:
    """``GET /logs/``: the end of the server's log.

    Raises:
        RequestError: a number of lines that is none.
        NotFoundError: there is no log.
    """
    if lines is None or not 0 < lines <= MAX_LINES:
        raise RequestError(got=f"lines = {lines}", allowed=f"1 to {MAX_LINES}")
    path = Path(settings.MONAI_LABEL_APP_DIR, "logs", "app.log")
    if not path.is_file():
        raise NotFoundError(got="a question for the log", allowed="a log", todo="look at stderr")
    with path.open(errors="replace") as file:
        shown = "".join(deque(file, lines))
    if text or not html:
        return PlainTextResponse(shown)
    page = f'<!doctype html><meta charset="utf-8"><pre>{markup.escape(shown)}</pre>'
    head = {"Content-Security-Policy": "default-src 'none'"}
    return Response(page, media_type="text/html", headers=head)


def answer_gpu(user: object = None) -> Response:
    """``GET /logs/gpu``: what nvidia-smi says.

    Raises:
        NotFoundError: there is none.
        UnavailableError: it does not answer.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        raise NotFoundError(got="a question for nvidia-smi", allowed="computers that have it")
    try:
        done = subprocess.run([program], capture_output=True, timeout=GPU_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(got="no answer from nvidia-smi") from error
    return PlainTextResponse(done.stdout.decode(errors="replace"))


def answer_no_weights(model: str, user: object = None) -> NoReturn:
    """``GET /model/{model}``: weights are not given out; they are public, or on the disk.

    Raises:
        NotFoundError: always.
    """
    raise NotFoundError(
        got=f"a question for the weights of {model[:MAX_TEXT]!r}",
        allowed="GET /model_card/MODEL and GET /model_version/MODEL",
        todo="copy them on the server's computer; docs/how-to/models.md says where they are",
    )


def answer_no_weights_info(model: str, user: object = None) -> NoReturn:
    """``GET /model/info/{model}``; as `answer_no_weights`."""
    answer_no_weights(model)


def refuse_weights(model: str, file: Any, **values: object) -> NoReturn:
    """``PUT /model/{model}``: nothing is served that was not looked at.

    Raises:
        RequestError: always.
    """
    raise RequestError(
        got=f"a weight file for {model[:MAX_TEXT]!r}",
        allowed="weights that were installed or trained on the server's computer",
        todo="use scripts/get_weights.py or scripts/models.py there",
    )


def refuse_removal(model: str, user: object = None) -> NoReturn:
    """``DELETE /model/{model}``: versions are taken back, not removed.

    Raises:
        RequestError: always.
    """
    raise RequestError(
        got=f"a request to remove the weights of {model[:MAX_TEXT]!r}",
        allowed='POST /model_version/MODEL with {"version": "previous"}',
        todo="use that, or scripts/models.py on the server's computer",
    )


def refuse_whole_slide(model: str, **values: object) -> NoReturn:
    """``POST /infer/wsi/{model}``: there are no whole slides here.

    Raises:
        RequestError: always.
    """
    raise RequestError(
        got=f"a whole slide for {model[:MAX_TEXT]!r}",
        allowed="images that POST /infer/MODEL segments",
        todo="cut the region out, and add it as an image",
    )


def refuse_whole_slide_form(model: str, **values: object) -> NoReturn:
    """``POST /infer/wsi_v2/{model}``; as `refuse_whole_slide`."""
    refuse_whole_slide(model)


def answer_ohif(path: str, user: object = None) -> Response:
    """``GET /ohif/{path}``: a file of the bundled OHIF; its page for all other paths."""
    return FileResponse(file := ohif_file(path), media_type=get_mime_type(str(file)))


def ohif_file(path: str, folder: Path = OHIF_FOLDER) -> Path:
    """The file that a path of OHIF stands for; always one inside of the folder.

    Raises:
        NotFoundError: OHIF is not installed.
    """
    parts = [part for part in path.split("/") if part]
    page = folder / "index.html"
    if not page.is_file():
        raise NotFoundError(got="a question for OHIF", allowed="it where it is installed")
    if any(part in (".", "..") or "\0" in part for part in parts):
        return page
    try:
        found = folder.joinpath(*itertools.islice(parts, 32)).resolve()
        return found if found.is_file() and found.is_relative_to(folder.resolve()) else page
    except OSError:  # a name that no file can have
        return page

"""Every error of every endpoint becomes a status and a sentence; the stack stays in the log."""

from __future__ import annotations

import logging
import uuid

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from monailabel.interfaces.exception import (
    ImageNotFoundException,
    LabelNotFoundException,
    MONAILabelException,
)
from starlette.exceptions import HTTPException

from lib.errors import RequestError, Samed2dError, UnavailableError
from lib.server.pacs_questions import FULL
from lib.server.refusal import refusal

MAX_WRONG = 4
"""So many wrong parts of a request are named."""
MAX_TEXT = 128

logger = logging.getLogger(__name__)


def answer_errors(server: FastAPI) -> None:
    """Answer every error of every endpoint with a status and a sentence, never with a stack.

    0.8.5 answers any exception with a bare "Internal Server Error". Handlers can only be added
    before the first request, and the start of the app counts as one, so the stack of middlewares
    is built again.
    """
    server.add_exception_handler(Samed2dError, _answer_own_error)
    server.add_exception_handler(MONAILabelException, _answer_host_error)
    server.add_exception_handler(RequestValidationError, _answer_wrong_form)
    server.add_exception_handler(HTTPException, _answer_refusal)
    server.add_exception_handler(OSError, _answer_disk)
    server.add_exception_handler(Exception, _answer_unexpected_error)
    server.middleware_stack = server.build_middleware_stack()


def _detail(status: int, text: str) -> JSONResponse:
    """The form FastAPI gives an HTTPException."""
    return JSONResponse({"detail": text}, status_code=status)


def _answer_own_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Samed2dError)
    logger.warning("%s %s: %s", request.method, request.url.path, error.message)
    return refusal(error)


def _answer_host_error(request: Request, error: Exception) -> JSONResponse:
    status = 404 if isinstance(error, ImageNotFoundException | LabelNotFoundException) else 400
    text = str(getattr(error, "msg", error))
    logger.warning("%s %s: %s", request.method, request.url.path, text)
    return _detail(status, text)


def _answer_wrong_form(request: Request, error: Exception) -> JSONResponse:
    """What the web server itself finds wrong with a request: 422, as it has it, in a sentence."""
    assert isinstance(error, RequestValidationError)
    wrong = [
        ".".join(str(part)[:MAX_TEXT] for part in found["loc"])
        + ": "
        + str(found["msg"])[:MAX_TEXT]
        for found in error.errors()[:MAX_WRONG]
    ]
    said = RequestError(
        got=f"a request that {request.url.path[:MAX_TEXT]} does not understand: {'; '.join(wrong)}",
        allowed="what /docs says of this address",
        todo="correct it",
    )
    return _detail(422, said.message)


def _answer_refusal(request: Request, error: Exception) -> JSONResponse:
    """A refusal of the host or the web server, with what it said as a sentence."""
    assert isinstance(error, HTTPException)
    text = " ".join(str(error.detail).strip("+ ").split())[: 4 * MAX_TEXT] or "no reason"
    answer = _detail(error.status_code, text if text.endswith(".") else f"{text}.")
    answer.headers.update(error.headers or {})
    return answer


def _answer_disk(request: Request, error: Exception) -> JSONResponse:
    """A disk that is full may be met anywhere; other errors of the system are faults of ours."""
    if not isinstance(error, OSError) or error.errno not in FULL:
        raise error
    full = UnavailableError(
        got=f"no room on a disk of the server ({error.strerror})",
        allowed="room for what this request writes",
        todo="tell the person who runs the server; nothing of the request was kept",
    )
    logger.error("%s %s: %s", request.method, request.url.path, full.message)
    return refusal(full)


def _answer_unexpected_error(request: Request, error: Exception) -> JSONResponse:
    reference = uuid.uuid4().hex[:8]
    # The web server writes the stack to its log right after this line.
    logger.error(
        "%s %s: reference %s: %s", request.method, request.url.path, reference, repr(error)
    )
    return _detail(
        500,
        f"The server met an error of its own, reference {reference}. What to do: look for this "
        "reference in the server's log, or give it to the person who runs the server.",
    )

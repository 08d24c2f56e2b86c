"""Every error of every endpoint becomes a status and a sentence; the stack stays in the log."""

from __future__ import annotations

import logging
import uuid

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from monailabel.interfaces.exception import (
    ImageNotFoundException,
    LabelNotFoundException,
    MONAILabelException,
)

from lib.errors import Samed2dError

logger = logging.getLogger(__name__)


def answer_errors(server: FastAPI) -> None:
    """Answer every error of every endpoint with a status and a sentence, never with a stack.

    0.8.5 answers any exception with a bare "Internal Server Error". Handlers can only be added
    before the first request, and the start of the app counts as one, so the stack of middlewares
    is built again.
    """
    server.add_exception_handler(Samed2dError, _answer_own_error)
    server.add_exception_handler(MONAILabelException, _answer_host_error)
    server.add_exception_handler(Exception, _answer_unexpected_error)
    server.middleware_stack = server.build_middleware_stack()


def _detail(status: int, text: str) -> JSONResponse:
    """The form FastAPI gives an HTTPException."""
    return JSONResponse({"detail": text}, status_code=status)


def _answer_own_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Samed2dError)
    logger.warning("%s %s: %s", request.method, request.url.path, error.message)
    return _detail(error.status, error.message)


def _answer_host_error(request: Request, error: Exception) -> JSONResponse:
    status = 404 if isinstance(error, ImageNotFoundException | LabelNotFoundException) else 400
    text = str(getattr(error, "msg", error))
    logger.warning("%s %s: %s", request.method, request.url.path, text)
    return _detail(status, text)


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

"""A sentence as an answer, from places that no exception handler watches over."""

from __future__ import annotations

from starlette.responses import JSONResponse

from lib.errors import BusyError, Samed2dError, SignInError

RETRY_SECONDS = 2
"""After so many seconds a busy server may be asked again."""


def refusal(error: Samed2dError) -> JSONResponse:
    """The answer to a request that an error ended."""
    headers = {}
    if isinstance(error, SignInError):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, BusyError):
        headers["Retry-After"] = str(RETRY_SECONDS)
    return JSONResponse({"detail": error.message}, error.status, headers)

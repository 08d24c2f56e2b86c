import asyncio
import errno
import logging
import re

import httpx
import pytest
from fastapi import FastAPI
from monailabel.interfaces.exception import (
    ImageNotFoundException,
    MONAILabelError,
    MONAILabelException,
)

from lib.errors import ImageError, NotFoundError, PromptError, UnavailableError
from lib.server.error_answers import answer_errors


def failing(error):
    """The answer of a server whose one address fails; the handlers come after its first request."""
    server = FastAPI()

    @server.get("/fail")
    async def fail():
        raise error

    async def ask():
        transport = httpx.ASGITransport(server, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await client.get("/")
            answer_errors(server)
            return await client.get("/fail")

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PromptError(got="a", allowed="b", todo="c"), 422),
        (NotFoundError(got="a", allowed="b", todo="c"), 404),
        (ImageError(got="a", allowed="b", todo="c"), 415),
        (UnavailableError(got="a", allowed="b", todo="c"), 503),
    ],
)
def test_our_errors_keep_status_and_sentence(error, status):
    answer = failing(error)
    assert answer.status_code == status
    assert answer.json() == {"detail": "Got: a. Allowed: b. What to do: c."}


def test_errors_of_the_host():
    assert failing(ImageNotFoundException("Image x not found")).status_code == 404
    answer = failing(MONAILabelException(MONAILabelError.INVALID_INPUT, "no such model"))
    assert (answer.status_code, answer.json()) == (400, {"detail": "no such model"})


def test_a_disk_without_room_anywhere_is_a_sentence_and_no_fault_of_ours():
    answer = failing(OSError(errno.ENOSPC, "No space left on device"))
    assert answer.status_code == 503
    assert "no room on a disk of the server" in answer.json()["detail"]
    assert failing(PermissionError(errno.EACCES, "Permission denied")).status_code == 500


def test_anything_else_is_a_reference_and_no_stack(caplog):
    with caplog.at_level(logging.ERROR):
        answer = failing(KeyError("the secret path /data/patient"))
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    (reference,) = re.findall(r"reference ([0-9a-f]{8})", answer.json()["detail"])
    assert reference in caplog.text
    assert "the secret path" in caplog.text

"""The error hierarchy: one sentence for people, one status for HTTP."""

from __future__ import annotations

import pickle

import pytest

from lib import errors
from lib.errors import Samed2dError

STATUSES = {
    "Samed2dError": 500,
    "OptionError": 400,
    "PromptError": 422,
    "RequestError": 400,
    "SignInError": 401,
    "ForbiddenError": 403,
    "NotFoundError": 404,
    "SupersededError": 409,
    "ConflictError": 409,
    "TooLargeError": 413,
    "ImageError": 415,
    "TrainingError": 500,
    "CheckpointError": 500,
    "RefusedError": 502,
    "UnavailableError": 503,
    "BusyError": 503,
}


def hierarchy() -> dict[str, type[Samed2dError]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Samed2dError)
    }


def test_every_error_has_its_status() -> None:
    assert {name: error.status for name, error in hierarchy().items()} == STATUSES


def test_message_says_what_came_what_is_allowed_and_what_to_do() -> None:
    error = errors.PromptError("point (300, 4)", "0 <= x < 256", "click on the image")
    assert error.message == (
        "Got: point (300, 4). Allowed: 0 <= x < 256. What to do: click on the image."
    )
    assert str(error) == error.message
    assert (error.got, error.allowed, error.todo) == (
        "point (300, 4)",
        "0 <= x < 256",
        "click on the image",
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "Got: x."),
        ({"allowed": "y"}, "Got: x. Allowed: y."),
        ({"todo": "z"}, "Got: x. What to do: z."),
    ],
)
def test_parts_that_are_absent_are_not_mentioned(parts: dict[str, str], message: str) -> None:
    assert Samed2dError("x", **parts).message == message


def test_all_are_caught_as_one() -> None:
    for error in hierarchy().values():
        with pytest.raises(Samed2dError):
            raise error("x")


def test_errors_cross_processes_unchanged() -> None:
    error = errors.PromptError("point (300, 4)", "0 <= x < 256", "click on the image")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is errors.PromptError
    assert str(copy) == str(error)

"""The one error hierarchy of samed2d.

Every error a user can cause or meet carries three things: what was got, what is allowed and
what to do about it. The HTTP status lives on the class, so that the server's edge turns any of
these into an answer without knowing which layer raised it.
"""

from __future__ import annotations


class Samed2dError(Exception):
    """Base of all errors raised on purpose by this project.

    Args:
        got: what arrived or happened, in the words of the caller ("point (300, 4)").
        allowed: what would have been accepted ("0 <= x < 256").
        todo: the next step for the person who reads it.
    """

    status: int = 500

    def __init__(self, got: str, allowed: str = "", todo: str = "") -> None:
        self.got = got
        self.allowed = allowed
        self.todo = todo
        super().__init__(self.message)

    def __reduce__(self) -> tuple[type[Samed2dError], tuple[str, str, str]]:
        """Pickle the three parts, so that an error crosses processes unchanged."""
        return type(self), (self.got, self.allowed, self.todo)

    @property
    def message(self) -> str:
        """The error as one line of sentences: got, allowed, what to do."""
        parts = [f"Got: {self.got}."]
        if self.allowed:
            parts.append(f"Allowed: {self.allowed}.")
        if self.todo:
            parts.append(f"What to do: {self.todo}.")
        return " ".join(parts)


class OptionError(Samed2dError):
    """An unknown option or a value outside its range (``--conf`` or the environment)."""

    status = 400


class PromptError(Samed2dError):
    """A point, box or mask that cannot be used on this image."""

    status = 422


class RequestError(Samed2dError):
    """A request to the server that is malformed or names an unknown key."""

    status = 400


class SignInError(Samed2dError):
    """A request without a key that the server knows."""

    status = 401


class ForbiddenError(Samed2dError):
    """A request that its sender may not make."""

    status = 403


class NotFoundError(Samed2dError):
    """An image, model or session that the server does not have."""

    status = 404


class SupersededError(Samed2dError):
    """A request that was given up because the same user sent a newer one for the same label."""

    status = 409


class ConflictError(Samed2dError):
    """A label that was drawn without knowing of one that somebody else has saved meanwhile."""

    status = 409


class TooLargeError(Samed2dError):
    """A request with more bytes than the server takes."""

    status = 413


class ImageError(Samed2dError):
    """An image file that cannot be read, or one beyond the configured limits."""

    status = 415


class TrainingError(Samed2dError):
    """A training run that cannot go on; what it had saved is intact."""

    status = 500


class CheckpointError(Samed2dError):
    """A weight file that is damaged, unsafe, or does not fit the network."""

    status = 500


class RefusedError(Samed2dError):
    """Another service answers, but does not take what it was sent."""

    status = 502


class UnavailableError(Samed2dError):
    """Something the server needs (a download, another service) cannot be reached now."""

    status = 503


class BusyError(Samed2dError):
    """More requests at once than the server takes; the same one may succeed a little later."""

    status = 503

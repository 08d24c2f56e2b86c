"""One line of the page."""

from __future__ import annotations

from dataclasses import dataclass

OK, NOTE, MISSING = "ok", "note", "MISSING"


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
        status: ok; note (the server works, somebody may want to know); MISSING (it does not).
        subject: what was looked at.
        text: what was found and, where it is no ok, what to do.
    """

    status: str
    subject: str
    text: str

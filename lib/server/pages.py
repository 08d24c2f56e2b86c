"""Pages that a browser goes to: without a key it is shown the form for one, and comes back after.

What scripts and programs ask for is answered with a status and a sentence instead.
"""

from __future__ import annotations

from urllib.parse import quote, unquote, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import Scope

LOGIN = "/login/"
PAGES = frozenset({"/samed2d/{path}", "/ohif/{path}"})
"""Viewers, whose files are for everybody and whose pages are of no use without a key."""
MAX_RETURN = 2048


def asks_for_page(scope: Scope) -> bool:
    """Whether a browser was sent to this address, by a person or a link."""
    return scope["method"] == "GET" and "text/html" in Headers(scope=scope).get("accept", "")


def to_login(scope: Scope) -> RedirectResponse:
    """Send a browser to the form, which knows the way back."""
    root = str(scope.get("root_path", "")).rstrip("/")
    query = scope.get("query_string", b"").decode("latin-1")
    address = quote(str(scope["path"])) + (f"?{query}" if query else "")
    back = address if address.startswith(f"{root}/") else root + address
    answer = RedirectResponse(f"{root}{LOGIN}?{urlencode({'back': back})}", 303)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def way_back(address: str) -> str | None:
    """The address to return to after the form; None where it is no path of this server.

    Args:
        address: as it stood in the query; anybody may have written it.
    """
    plain = unquote(address)
    odd = any(ord(letter) < 0x20 or letter in "\x7f\\" for letter in plain)
    if (
        odd
        or " " in address
        or not plain.startswith("/")
        or plain.startswith("//")
        or len(address) > MAX_RETURN
    ):
        return None
    parts = urlsplit(address)
    return None if parts.scheme or parts.netloc else address

"""How people show their key: ``/auth/`` for programs, ``/login/`` for browsers.

3D Slicer asks ``/auth/`` whether it has to sign in, sends user name and password to
``/auth/token``, and what it gets there with each request; the password is the key. Browsers send
cookies with each request, those of OHIF to the PACS among them: ``/login/`` sets one that scripts
cannot read, that goes to this server alone and that ends with the browser. Pages of the viewers
lead there by themselves (`lib.server.pages`).

Where the host's sign-in is on (OpenID Connect), ``/auth/`` is its own.
"""

from __future__ import annotations

from html import escape
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.security import OAuth2PasswordRequestForm
from monailabel.config import settings

from lib.errors import SignInError
from lib.server.audit import record
from lib.server.caller import CALLER
from lib.server.doorman import Doorman
from lib.server.guard import COOKIE
from lib.server.pages import LOGIN, way_back

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Sign in - samed2d</title>
<style>
body { font: 16px sans-serif; margin: 4em auto; max-width: 30em }
input { width: 100%%; font: inherit }
</style>
<h1>Annotation server</h1><p role="status">%s</p>
"""
_FORM = """<form method="post"><p><label>Your key <input type="password" name="key"
 autocomplete="off" autofocus required></label><p><button>Sign in</button></form>
"""
_OUT = '<form method="post" action="../logout/"><p><button>Sign out</button></form>'
_ASK = "Enter the key you were given."
_WRONG = "The server does not know this key. Check it for missing characters, or ask for a new one."
_OPEN = "This server asks nobody for a key."
_IN = "You are signed in as %s (%s)."
_LEFT = "You are signed out."
_VIEWERS = (
    'Go to the <a href="../samed2d/">viewer</a> or to <a href="../ohif/">OHIF with the panel of '
    "MONAI Label</a>."
)
_SAFE_PAGE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def serve_sign_in(server: FastAPI) -> None:
    """Add the routes; may be called again."""
    if any(getattr(route, "endpoint", None) is answer_login_page for route in server.routes):
        return
    server.add_api_route(LOGIN, answer_login_page, include_in_schema=False)
    server.add_api_route(LOGIN, answer_login, methods=["POST"], include_in_schema=False)
    server.add_api_route("/logout/", answer_logout, methods=["POST"], include_in_schema=False)
    if settings.MONAI_LABEL_AUTH_ENABLE:
        return
    server.add_api_route("/auth/", answer_enabled, summary="Whether a key is needed")
    server.add_api_route("/auth/token", answer_token, methods=["POST"], summary="Show a key")
    server.add_api_route("/auth/token/valid", answer_valid, summary="Whose key it is")


def answer_enabled(request: Request) -> dict[str, Any]:
    """Whether a client has to sign in, in the host's form."""
    return {"enabled": _doorman(request).required, "client_id": "samed2d", "realm": ""}


async def answer_token(
    request: Request, form: Annotated[OAuth2PasswordRequestForm, Depends()]
) -> dict[str, str | None]:
    """What to send with each request: the key itself.

    Raises:
        SignInError: the password is no key.
    """
    doorman = _doorman(request)
    if not doorman.required:
        return {"access_token": None, "token_type": None}
    if await doorman.caller(form.password.strip()) is None:
        record("sign-in refused")
        raise SignInError(
            got="a password that is no key of this server",
            allowed="the key that scripts/users.py printed",
            todo="enter it as password; the user name does not matter",
        )
    return {"access_token": form.password.strip(), "token_type": "bearer"}


def answer_valid() -> dict[str, Any]:
    """Name and role of whoever asks; the guard has refused all others."""
    caller = CALLER.get()
    return {"username": caller.name, "role": caller.role.title}


async def answer_login_page(request: Request) -> HTMLResponse:
    """The form for browsers, or who is signed in."""
    doorman = _doorman(request)
    if not doorman.required:
        return _page(f"{_OPEN} {_VIEWERS}")
    key = request.cookies.get(COOKIE, "")
    caller = await doorman.caller(key) if key else None
    if caller is None:
        return _page(_ASK, _FORM)
    return _page(f"{_IN % (escape(caller.name), caller.role.title)} {_VIEWERS}", _OUT)


async def answer_login(
    request: Request, key: Annotated[str, Form(max_length=8192)], back: str = ""
) -> Response:
    """Remember the key in the browser until it is closed; then back to where it came from."""
    doorman = _doorman(request)
    if not doorman.required:
        return _page(f"{_OPEN} {_VIEWERS}")
    if await doorman.caller(key.strip()) is None:
        record("sign-in refused")
        return _page(_WRONG, _FORM, 401)
    answer = RedirectResponse(way_back(back) or str(request.url.path), 303)
    secure = request.url.scheme == "https"
    # "lax": a link in another system opens the viewer of whoever is signed in. What changes
    # anything takes more than a link, and the guard refuses it to pages of other servers.
    answer.set_cookie(COOKIE, key.strip(), httponly=True, samesite="lax", secure=secure)
    return answer


def answer_logout() -> Response:
    """Forget the key in this browser."""
    answer = _page(f"{_LEFT} {_ASK}", _FORM.replace("<form", '<form action="../login/"', 1))
    answer.delete_cookie(COOKIE, httponly=True, samesite="lax")
    return answer


def _page(said: str, form: str = "", status: int = 200) -> HTMLResponse:
    return HTMLResponse(_PAGE % said + form, status, _SAFE_PAGE)


def _doorman(request: Request) -> Doorman:
    doorman: Doorman = request.app.state.doorman
    return doorman

"""Asks, before a route is looked for, who sends a request and whether they may.

Every request passes here: the host's routes, ours, and folders of files. What is no route of the
table `lib.server.roles` is answered to nobody, so nothing is open by mistake.

Without a file of keys and without a realm everybody is admin, as MONAI Label has it, and therefore
only programs of this computer are answered, under a name of this computer, and pages of other
origins cannot change anything. That holds also where the server was started on all interfaces,
which is what plain ``monailabel start_server`` does.

With keys, a browser that is sent to a page without one is shown the form of `lib.server.sign_in`.

Concurrency contract: nothing here changes once it is made; see `lib.server.doorman`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from lib.errors import ForbiddenError, NotFoundError, RequestError, Samed2dError, SignInError
from lib.server.addresses import Address, find, methods_of
from lib.server.audit import record
from lib.server.caller import CALLER, NOBODY, OPEN, Caller
from lib.server.doorman import Doorman
from lib.server.pages import PAGES, asks_for_page, to_login
from lib.server.refusal import refusal
from lib.server.roles import ROLES, Role

COOKIE = "samed2d_key"
"""Set by ``/login/`` for viewers that cannot send a header."""
ADDRESS_KEY = "samed2d.address"
"""Where the template of the address stands in the scope, for the figures of `lib.server.watch`."""
SAFE = ("GET", "HEAD", "OPTIONS")
MAX_NAME = 128


class MethodError(RequestError):
    """A path that exists, asked with another method."""

    status = 405


class Guard:
    """The gate as an ASGI middleware.

    Args:
        app: what is behind it.
        addresses: all routes of the server.
        doorman: who knows keys and tokens.
        origins: of pages on other servers that may use this one.
    """

    def __init__(
        self,
        app: ASGIApp,
        addresses: tuple[Address, ...],
        doorman: Doorman,
        origins: Collection[str] = (),
    ) -> None:
        self._app, self._addresses, self._doorman = app, addresses, doorman
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # the server has no other routes
            await send({"type": "websocket.close", "code": 1008})
            return
        path = _path(scope)
        address = find(self._addresses, scope["method"], path)
        if address is None and (other := self._with_or_without_slash(scope["method"], path)):
            await _redirect(scope, other)(scope, receive, send)
            return
        try:
            caller = await self._admit(scope, path, address)
        except Samed2dError as error:
            unknown = isinstance(error, SignInError) and asks_for_page(scope)
            await (to_login(scope) if unknown else refusal(error))(scope, receive, send)
            return
        token = CALLER.set(caller)
        try:
            await self._app(scope, receive, send)
        finally:
            CALLER.reset(token)

    def _with_or_without_slash(self, method: str, path: str) -> str | None:
        """The address somebody meant who wrote a slash too many or too few."""
        other = path.removesuffix("/") if path.endswith("/") else f"{path}/"
        return other if other and find(self._addresses, method, other) else None

    async def _admit(self, scope: Scope, path: str, address: Address | None) -> Caller:
        headers = Headers(scope=scope)
        if not self._doorman.required:
            self._check_here(scope, headers)
        if address is None:
            raise self._no_address(scope["method"], path)
        scope[ADDRESS_KEY] = address.template
        role = ROLES.get((scope["method"], address.template))
        if role is None:
            raise ForbiddenError(
                got=f"{scope['method']} {address.template}, an address without a role",
                allowed="addresses that the server knows a role for",
                todo="tell the person who maintains the server",
            )
        if not self._doorman.required:
            return OPEN
        if address.template in PAGES and asks_for_page(scope):
            role = Role.ANNOTATOR
        if role is Role.ANYBODY:
            self._check_own_page(headers, scope["method"])
            return NOBODY
        return await self._signed_in(headers, scope, role)

    async def _signed_in(self, headers: Headers, scope: Scope, role: Role) -> Caller:
        token = self._token(headers, scope["method"])
        caller = await self._doorman.caller(token)
        if caller is None:
            record("sign-in refused")
            raise SignInError(
                got="a key that the server does not know",
                allowed="the key that scripts/users.py printed",
                todo="check it for missing characters, or ask for a new one",
            )
        if caller.role < role:
            raise ForbiddenError(
                got=f"a request of {caller.name}, who is {caller.role.title}",
                allowed=f"the role {role.title}",
                todo="ask the person who runs the server to do it, or for that role",
            )
        return caller

    def _token(self, headers: Headers, method: str) -> str:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip()
        cookie = _cookie(headers)
        if cookie:
            # The browser sends a cookie by itself, so only our own pages may change anything.
            self._check_own_page(headers, method)
            return cookie
        raise SignInError(
            got="a request without a key",
            allowed="a key of scripts/users.py",
            todo="sign in at /login/ in a browser; in 3D Slicer enter the key as password; "
            "other programs send the header 'Authorization: Bearer KEY'",
        )

    def _check_here(self, scope: Scope, headers: Headers) -> None:
        """Refuse what does not come from this computer."""
        client = scope.get("client")
        if not client or not is_loopback(client[0]) or not _names_here(headers.get("host", "")):
            raise ForbiddenError(
                got="a request from another computer, or under another name of this one, to a "
                "server without sign-in",
                allowed="requests from this computer to http://127.0.0.1 or http://localhost",
                todo="give people keys with python scripts/users.py add NAME; "
                "see docs/how-to/secure-the-server.md",
            )
        self._check_own_page(headers, scope["method"])

    def _check_own_page(self, headers: Headers, method: str) -> None:
        """Refuse changes that a page of another server asks the browser for."""
        if method in SAFE or headers.get("origin") in self._origins:
            return
        if _is_foreign(headers):
            raise ForbiddenError(
                got="a request that a page of another server made",
                allowed="pages of this server",
                todo="name that server in MONAI_LABEL_CORS_ORIGINS if it is yours",
            )

    def _no_address(self, method: str, path: str) -> Samed2dError:
        methods = methods_of(self._addresses, path)
        if methods:
            return MethodError(
                got=f"{method} {path[:MAX_NAME]}", allowed=", ".join(sorted(methods))
            )
        return NotFoundError(
            got=f"the address {path[:MAX_NAME]!r}",
            allowed="addresses of this server",
            todo="look at /docs for a list of them",
        )


def is_loopback(host: str) -> bool:
    """Whether an address is one of this computer that others cannot reach."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host.lower() == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _is_foreign(headers: Headers) -> bool:
    """Whether a page of another server asks. Browsers say so, over plain HTTP by Origin alone."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host", "")


def _names_here(host: str) -> bool:
    """Whether the header Host, with or without a port, names this computer."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    return is_loopback(name)


def _path(scope: Scope) -> str:
    """The path below the root path, as the router sees it."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


def _redirect(scope: Scope, path: str) -> RedirectResponse:
    query = scope.get("query_string", b"").decode("latin-1")
    root = str(scope.get("root_path", "")).rstrip("/")
    return RedirectResponse(quote(root + path) + (f"?{query}" if query else ""), 307)


def _cookie(headers: Headers) -> str:
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""

"""Whose key or token a request carries.

Two kinds are known: API keys (`lib.server.api_keys`), and tokens of an OpenID Connect realm
(`lib.server.realm`) where the host's ``MONAI_LABEL_AUTH_ENABLE`` is set.

Concurrency contract: ``_lock`` guards the users that were read and the keys that were tried. A key
is tried in a thread outside of it, two at a time, because that is slow by intention; a key that was
right once is recognised at once until the file changes.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import threading
from collections.abc import Hashable

import anyio
import anyio.to_thread
import jwt
from cachetools import LRUCache
from monailabel.config import settings

from lib.errors import OptionError, UnavailableError
from lib.options import AppOptions, default_api_keys
from lib.server.api_keys import User, owner_of, read_users
from lib.server.audit import record
from lib.server.caller import CALLER, Caller
from lib.server.realm import Realm, name_of, roles_of
from lib.server.roles import Role

AT_ONCE = 2
KNOWN_KEYS = 1024

logger = logging.getLogger(__name__)


class Doorman:
    """Knows who may come in.

    Args:
        options: ``api_keys``.

    Raises:
        OptionError: the file of keys is named and cannot be used.
    """

    def __init__(self, options: AppOptions) -> None:
        self._path = options.api_keys or default_api_keys()
        self._lock = threading.Lock()
        self._limiter: anyio.CapacityLimiter | None = None
        self._secret = secrets.token_bytes(32)
        self._stamp: Hashable = None
        self._users: tuple[User, ...] = ()
        self._known: LRUCache[bytes, Caller] = LRUCache(KNOWN_KEYS)
        address, client = settings.MONAI_LABEL_AUTH_REALM_URI, settings.MONAI_LABEL_AUTH_CLIENT_ID
        self._realm = Realm(address, client)
        self._has_keys = options.api_keys is not None
        if self.has_keys:
            self._read()

    @property
    def has_keys(self) -> bool:
        """Whether there is a file of keys, or was one since the start."""
        self._has_keys = self._has_keys or self._path.exists()
        return self._has_keys

    @property
    def has_realm(self) -> bool:
        """Whether tokens of a realm are taken."""
        return bool(settings.MONAI_LABEL_AUTH_ENABLE)

    @property
    def required(self) -> bool:
        """Whether anybody has to sign in."""
        return self.has_keys or self.has_realm

    async def caller(self, token: str) -> Caller | None:
        """Who has this key or token; None for one that nobody has.

        Raises:
            UnavailableError: the file of keys, or the realm, does not answer.
        """
        known = self._recognise(token)
        if known is not None:
            return known
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(AT_ONCE)
        return await anyio.to_thread.run_sync(self.try_token, token, limiter=self._limiter)

    def try_token(self, token: str) -> Caller | None:
        """As `caller`; slow, and to be called in a thread."""
        known = self._recognise(token) or self._of_key(token)
        if known is None and self.has_realm:
            known = self._of_realm(token)
        return known

    def _recognise(self, token: str) -> Caller | None:
        if not self.has_keys:
            return None
        with self._lock:
            self._follow()
            return self._known.get(self._mark(token))

    def _of_key(self, token: str) -> Caller | None:
        with self._lock:
            users, stamp = self._users, self._stamp
        user = owner_of(users, token)
        if user is None:
            return None
        caller = Caller(user.name, user.role)
        with self._lock:
            if stamp == self._stamp:
                self._known[self._mark(token)] = caller
        _tell(caller)
        return caller

    def _of_realm(self, token: str) -> Caller | None:
        try:
            claims = self._realm.claims(token)
        except jwt.InvalidTokenError as error:
            logger.warning("token refused: %s", error)
            return None
        roles, name = roles_of(claims), name_of(claims)
        role = _role_of_realm(roles)
        return Caller(name, role, host_roles=tuple(roles)) if role is not None and name else None

    def _mark(self, token: str) -> bytes:
        return hmac.digest(self._secret, token.encode("utf-8", "replace"), hashlib.sha256)

    def _follow(self) -> None:
        """Read the file again where it changed; a file that is gone lets nobody in."""
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_size, stat.st_ino) != self._stamp:
                self._read()
        except (OSError, OptionError) as error:
            self._users, self._stamp = (), None
            self._known.clear()
            logger.error("API keys: %s", error)
            raise UnavailableError(
                got="a request while the server cannot read its API keys",
                allowed="requests when it can",
                todo="tell the person who runs the server; its log says why",
            ) from error

    def _read(self) -> None:
        users = read_users(self._path)
        stat = self._path.stat()
        self._users, self._stamp = users, (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        self._known.clear()


def _role_of_realm(roles: list[str]) -> Role | None:
    """Our role of the host's ones. Where its own are stricter, its endpoints say so."""
    if settings.MONAI_LABEL_AUTH_ROLE_ADMIN in roles:
        return Role.ADMIN
    if {
        settings.MONAI_LABEL_AUTH_ROLE_REVIEWER,
        settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR,
        settings.MONAI_LABEL_AUTH_ROLE_USER,
    } & set(roles):
        return Role.ANNOTATOR
    return None


def _tell(caller: Caller) -> None:
    token = CALLER.set(caller)
    try:
        record("signed in", role=caller.role.title)
    finally:
        CALLER.reset(token)

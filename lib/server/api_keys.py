"""The keys of those who may use the server: a file of slow, salted hashes, never of keys.

A key is ``samed2d_`` + id + ``_`` + secret. The id finds the line of the file; of the secret, 256
random bits, the file holds scrypt's hash (RFC 7914) with a salt of its own. Nobody can read a key
out of the file, so a lost one is replaced by a new one.

The file is JSON, written beside its place and renamed, and readable by its owner alone.

Concurrency contract: the functions share nothing. Writers hold a lock on ``<file>.lock``; readers
need none, they see the file before or after a change.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib.errors import NotFoundError, OptionError, RequestError
from lib.server.roles import GIVEN, Role, role_named

KEY = re.compile(r"samed2d_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
NAME = re.compile(r"[\w.@ -]{1,64}")
"""Names of people: letters of any alphabet, digits, and a few signs."""
SCRYPT: Mapping[str, int] = {"n": 1 << 14, "r": 8, "p": 1}
"""16 MiB and some 50 ms for each try."""
MAX_MEMORY = 1 << 26
SALT_BYTES = 16
PRIVATE = 0o600


@dataclass(frozen=True)
class User:
    """One line of the file.

    Attributes:
        id: first part of the key, 12 hexadecimal digits.
        name: of the person or program.
        role: what they may do.
        salt: base64.
        hash: scrypt of the secret, base64.
        created: UTC, ISO 8601.
    """

    id: str
    name: str
    role: Role
    salt: str
    hash: str
    created: str


def read_users(path: Path) -> tuple[User, ...]:
    """All users, in the order of the file.

    Raises:
        OptionError: there is no such file, others can read it, or it is damaged.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise _unusable(path, "others can read it", f"run: chmod 600 {path}")
            entries = json.load(file)["users"]
        return tuple(_user(entry) for entry in entries)
    except OSError as error:
        raise _unusable(path, error.strerror or "it cannot be read", _MAKE) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unusable(path, "it is damaged", "restore it from a backup, or " + _MAKE) from error


def add_user(path: Path, name: str, role: Role) -> str:
    """Give somebody a key; returns it. It is written down nowhere.

    Raises:
        RequestError: a name that is none, or that somebody has.
        OptionError: see `read_users`; a file that is not there yet is made.
    """
    if not NAME.fullmatch(name) or name != name.strip():
        raise RequestError(
            got=f"the name {name[:64]!r}",
            allowed="1 to 64 letters, digits, spaces and . _ @ -",
            todo="choose another name",
        )
    secret = secrets.token_urlsafe(32)
    salt = secrets.token_bytes(SALT_BYTES)
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with _changing(path) as users:
        if any(user.name == name for user in users):
            raise RequestError(
                got=f"the name {name!r}, which somebody has",
                allowed="a name of its own for each key",
                todo="remove the old key first, or choose another name",
            )
        id_ = secrets.token_hex(6)
        users.append(User(id_, name, role, _text(salt), _text(_hash(secret, salt)), created))
    return f"samed2d_{id_}_{secret}"


def remove_user(path: Path, name: str) -> None:
    """Take somebody's key back.

    Raises:
        NotFoundError: nobody has this name.
        OptionError: see `read_users`.
    """
    with _changing(path) as users:
        users.remove(_named(users, name))


def change_role(path: Path, name: str, role: Role) -> None:
    """Give somebody another role; raises as `remove_user`."""
    with _changing(path) as users:
        user = _named(users, name)
        users[users.index(user)] = User(**{**asdict(user), "role": role})


def owner_of(users: tuple[User, ...], key: str) -> User | None:
    """Whose key this is; None for a key that nobody has. Slow by intention."""
    match = KEY.fullmatch(key)
    user = match and next((user for user in users if user.id == match[1]), None)
    if not match or not user:
        return None
    found = _hash(match[2], base64.b64decode(user.salt))
    return user if hmac.compare_digest(found, base64.b64decode(user.hash)) else None


_MAKE = "make one with python scripts/users.py add NAME"


def _unusable(path: Path, why: str, todo: str) -> OptionError:
    return OptionError(
        got=f"the file of API keys {path}: {why}",
        allowed="a file made by scripts/users.py that only its owner can read",
        todo=todo,
    )


def _hash(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, maxmem=MAX_MEMORY, dklen=32, **SCRYPT)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _user(entry: dict[str, Any]) -> User:
    texts = {key: entry[key] for key in ("id", "name", "salt", "hash", "created")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise TypeError("an entry with something else than text")
    base64.b64decode(texts["salt"], validate=True)
    base64.b64decode(texts["hash"], validate=True)
    return User(role=role_named(entry["role"]), **texts)


def _named(users: list[User], name: str) -> User:
    for user in users:
        if user.name == name:
            return user
    raise NotFoundError(
        got=f"the name {name[:64]!r}",
        allowed=", ".join(user.name for user in users) or "nobody has a key",
        todo="list them with python scripts/users.py list",
    )


@contextmanager
def _changing(path: Path) -> Iterator[list[User]]:
    """The users as a list; what became of it is written at the end."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR, PRIVATE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        users = list(read_users(path)) if path.exists() else []
        yield users
        _write(path, users)
    finally:
        os.close(lock)


def _write(path: Path, users: list[User]) -> None:
    entries = [{**asdict(user), "role": user.role.title} for user in users]
    data = json.dumps({"users": entries}, indent=1, ensure_ascii=False).encode()
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


ROLE_NAMES = tuple(role.title for role in GIVEN)

"""Whether the server can write where it has to, and who else can read there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lib.errors import OptionError
from lib.options import (
    AppOptions,
    default_api_keys,
    default_audit_log,
    default_cache_dir,
    default_journal,
)
from lib.server.api_keys import read_users
from lib.training.registry import registry_folder
from scripts._doctor.finding import MISSING, NOTE, OK, Finding

GROUP_AND_OTHERS = 0o077


def check_folders(options: AppOptions) -> Iterator[Finding]:
    """Folders that the server writes to, whether they are there yet or not."""
    folders = {
        "cache": options.cache_dir or default_cache_dir(),
        "journal": options.journal or default_journal(),
        "trained versions": registry_folder(options),
        "audit log": (options.audit_log or default_audit_log()).parent,
    }
    for name, folder in folders.items():
        problem = _problem(folder)
        if problem is None:
            yield Finding(OK, name, f"{folder} can be written")
        else:
            todo = "change its rights, or name another one with --conf or the environment"
            yield Finding(MISSING, name, f"{folder}: {problem}; {todo}")
    journal = folders["journal"]
    if journal.is_dir() and journal.stat().st_mode & GROUP_AND_OTHERS & 0o044:
        yield Finding(NOTE, "journal", f"others can read it: chmod -R go= {journal}")


def check_keys(options: AppOptions) -> Iterator[Finding]:
    """The file of API keys."""
    path = options.api_keys or default_api_keys()
    if options.api_keys is None and not path.exists():
        todo = "python scripts/users.py add NAME lets others in"
        yield Finding(NOTE, "keys", f"none: only this computer is answered; {todo}")
        return
    try:
        users = read_users(path)
    except OptionError as error:
        yield Finding(MISSING, "keys", error.message)
        return
    admins = sum(user.role.title == "admin" for user in users)
    yield Finding(OK, "keys", f"{len(users)} in {path}, {admins} of them administrators")


def _problem(folder: Path) -> str | None:
    """Why nothing can be written there; a folder that is not there yet may be made."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        return f"{existing} is no folder"
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or "it cannot be written"
    return None

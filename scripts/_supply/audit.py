"""Known vulnerabilities of the pinned packages, by pip-audit, less those that do not reach us."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.errors import OptionError, UnavailableError

EXCEPTIONS = Path(__file__).with_name("exceptions.toml")
MAX_SAID = 500
_KEYS = frozenset({"id", "package", "reason", "until"})


@dataclass(frozen=True)
class KnownException:
    """A vulnerability that was looked at.

    Attributes:
        id: of the advisory.
        package: that has it.
        reason: why it does not reach the server.
        until: the day from which it counts again.
    """

    id: str
    package: str
    reason: str
    until: datetime.date


def read_exceptions(path: Path = EXCEPTIONS) -> tuple[KnownException, ...]:
    """The exceptions of a file.

    Raises:
        OptionError: no TOML, or an entry with other keys than those of `KnownException`.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("exception", [])
        found = tuple(KnownException(**entry) for entry in entries)
    except (tomllib.TOMLDecodeError, OSError, TypeError, ValueError) as error:
        raise _unusable(path, str(error)) from error
    for exception in found:
        texts = (exception.id, exception.package, exception.reason)
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise _unusable(path, f"an entry without words: {exception.id!r}")
        if not isinstance(exception.until, datetime.date):
            raise _unusable(path, f"{exception.id} without a date")
    return found


@dataclass(frozen=True)
class Findings:
    """What an audit gave.

    Attributes:
        asked: packages that the service knows.
        unknown: names of those it does not know, so that nothing can be said of them.
        vulnerable: (package, version, advisory, versions that are repaired) of each finding.
    """

    asked: int
    unknown: tuple[str, ...]
    vulnerable: tuple[tuple[str, str, str, str], ...]


def audit(lock: Path, ignored: Sequence[str], options: Sequence[str] = ()) -> Findings:
    """Ask a service for known vulnerabilities of everything in a lock file.

    Args:
        lock: exact versions of everything; nothing is resolved or installed.
        ignored: advisories that do not count.
        options: further ones of pip-audit.

    Raises:
        UnavailableError: the service does not answer.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--format", "json"]
    command += ["--no-deps", "--disable-pip", "--progress-spinner", "off", *options]
    for advisory in ignored:
        command += ["--ignore-vuln", advisory]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return _findings(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError) as error:
        raise UnavailableError(
            got=f"pip-audit without an answer: {_last_line(done.stderr)}",
            allowed="a computer from which the service can be asked",
            todo="check the connection, or name another service with --osv-url",
        ) from error


def _findings(dependencies: Sequence[dict[str, Any]]) -> Findings:
    known = [entry for entry in dependencies if "skip_reason" not in entry]
    return Findings(
        asked=len(known),
        # pip-audit calls an audit clean in which no package could be asked for.
        unknown=tuple(entry["name"] for entry in dependencies if "skip_reason" in entry),
        vulnerable=tuple(
            (entry["name"], entry["version"], found["id"], ", ".join(found["fix_versions"]))
            for entry in known
            for found in entry["vulns"]
        ),
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1][:MAX_SAID]


def split_by_day(
    exceptions: Sequence[KnownException], today: datetime.date
) -> tuple[list[KnownException], list[KnownException]]:
    """Those that still hold, and those that somebody has to look at again."""
    hold = [exception for exception in exceptions if exception.until > today]
    return hold, [exception for exception in exceptions if exception.until <= today]


def _unusable(path: Path, why: str) -> OptionError:
    return OptionError(
        got=f"{path.name}: {why}",
        allowed="entries [[exception]] with " + ", ".join(sorted(_KEYS)),
        todo="correct the file; its head has an example",
    )

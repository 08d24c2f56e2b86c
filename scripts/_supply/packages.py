"""What a lock file pins, and what the installed packages say of themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lib.errors import NotFoundError
from scripts._supply.licences import licence_of


@dataclass(frozen=True)
class Package:
    """A package of a lock file.

    Attributes:
        name: as in the lock file.
        version: exact.
        licence: an SPDX expression, or the words of its author where these are none.
        only: where it is installed, as a marker; "" for everywhere.
    """

    name: str
    version: str
    licence: str
    only: str


def read_pins(lock: Path) -> tuple[Requirement, ...]:
    """The pins of a lock file, in its order; hashes are left to the installer.

    Raises:
        NotFoundError: there is no such file, or a line of it pins nothing.
    """
    if not lock.is_file():
        raise NotFoundError(got=f"no file {lock}", todo="name a lock file, see scripts/lock.sh")
    entries = lock.read_text().replace("\\\n", " ").splitlines()
    lines = (re.split("#|--hash=", entry)[0].strip() for entry in entries)
    pins = tuple(Requirement(line) for line in lines if line)
    for pin in pins:
        if [specifier.operator for specifier in pin.specifier] != ["=="]:
            raise NotFoundError(
                got=f"the line {str(pin)!r} of {lock.name}",
                allowed="lines such as numpy==1.26.4",
                todo="renew the file with bash scripts/lock.sh",
            )
    return pins


def read_packages(lock: Path) -> tuple[Package, ...]:
    """Packages of a lock file with the licences of their installed copies, by name.

    Raises:
        NotFoundError: see `read_pins`; or a package is not installed in that version here.
    """
    packages = [_package(pin) for pin in read_pins(lock)]
    return tuple(sorted(packages, key=lambda package: canonicalize_name(package.name)))


def _package(pin: Requirement) -> Package:
    version = next(iter(pin.specifier)).version
    try:
        found = distribution(pin.name)
    except PackageNotFoundError:
        found = None
    if found is None or found.version != version:
        raise NotFoundError(
            got=f"{pin.name} {'not installed' if found is None else found.version}",
            allowed=f"{pin.name} {version}, of which the licence is to be read",
            todo="run this in the environment of scripts/start.sh or scripts/test.sh, on Linux",
        )
    return Package(
        pin.name,
        version,
        licence_of(pin.name, found.metadata),
        str(pin.marker or "").replace('"', "'"),
    )

"""A disk of its own for a test, which can be filled up without harm to anybody else's.

Linux can give a process and its children a file system in memory that nobody else sees, without
special rights where user namespaces are allowed.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

INSIDE = "SAMED2D_SMALL_DISK"
"""Environment variable that tells the inner process where the disk is."""
FILLER = ".filler"
STEP = 1 << 16
_MOUNT = ["unshare", "--map-root-user", "--mount", "--", "sh", "-c"]
_COMMAND = 'mount -t tmpfs -o size="$0"m samed2d "$1" && shift && exec "$@"'


def is_possible(folder: Path) -> bool:
    """Whether this system allows it."""
    if shutil.which("unshare") is None:
        return False
    command = [*_MOUNT, 'mount -t tmpfs -o size=1m samed2d "$0"', str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run_inside(folder: Path, mebibytes: int, arguments: Sequence[str]) -> int:
    """Run this program again with a small disk at a folder; its exit code."""
    command = [*_MOUNT, _COMMAND, str(mebibytes), str(folder), sys.executable, *arguments]
    environment = {**os.environ, INSIDE: str(folder)}
    return subprocess.run(command, env=environment, check=False).returncode


def fill(folder: Path, leave: int = 0) -> None:
    """Write until the disk is full.

    Args:
        folder: on the disk.
        leave: bytes that stay free, roughly.
    """
    with (folder / FILLER).open("ab", buffering=0) as file:
        try:
            while shutil.disk_usage(folder).free > leave:
                file.write(bytes(min(STEP, max(shutil.disk_usage(folder).free - leave, 1))))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def make_room(folder: Path) -> None:
    """Take away what `fill` wrote."""
    (folder / FILLER).unlink(missing_ok=True)

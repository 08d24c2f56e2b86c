"""Files that are there whole or not at all, also after a power cut.

The order is always: write beside, bring it to the disk, rename, bring the folder to the disk.
"""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until a file, or the table of contents of a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, data: bytes, part: Path) -> None:
    """Replace a file by one with other contents.

    Args:
        path: of the file.
        data: its new contents.
        part: where they are written first; on the same disk.

    Raises:
        OSError: the disk does not take it; the file is as it was.
    """
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync(path.parent)


def move_whole(part: Path, folder: Path) -> None:
    """Give a complete folder its name, after all of it is on the disk.

    Args:
        part: what was written, a folder of files.
        folder: its name from now on; nothing is there yet.
    """
    for path in part.iterdir():
        sync(path)
    sync(part)
    part.rename(folder)
    sync(folder.parent)

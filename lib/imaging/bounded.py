"""What a process that reads a file of unknown origin may take: by what the file's header announces.

Readers check the size of an image against `ReadLimits` when they have read its header and before
they decode anything. `BoundedLimits` takes that moment to allow this process what an image of that
size needs. Until then there is what Python, its libraries and a header need.

Concurrency contract: for a process with one thread, which ends after one file.
"""

from __future__ import annotations

import math
import resource
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.errors import ImageError
from lib.imaging.grid import ReadLimits

SECONDS = 60
"""Of processor time for any file; of time by the clock twice as much."""
VOXELS_PER_SECOND = 5_000_000
"""Further time for large images: the slowest reader and writer here handle some 20 million."""
FLOOR_BYTES = 512 << 20
"""Memory for any file, on top of what this process has when it begins."""
BYTES_PER_VOXEL = 24
"""In doubles, three times: as decoded, rescaled, in its last type."""
COPIES = 3
"""Of the largest file: its bytes, the pixel data within, and what a decoder is given."""
VOXELS_PER_BYTE = 4096
"""Of all files together, at most; deflate has 1032 bytes for one at best."""
ALWAYS_VOXELS = 1 << 24
"""So many are never too many for the size of a file: a blank picture packs into very little."""
_UNKNOWN_BASE = 3 << 30
"""Addresses of a process with its libraries where the system does not say."""
_PAGES = Path("/proc/self/statm")


@dataclass(frozen=True)
class BoundedLimits(ReadLimits):
    """Limits for an image, which also are bounds for this process.

    Attributes:
        file_bytes: of all files of the image.
        largest_bytes: of its largest file.
        base: addresses of this process before it read anything.
        may_write: it writes the image to a file.
    """

    file_bytes: int = 0
    largest_bytes: int = 0
    base: int = 0
    may_write: bool = False

    def check(self, shape: Sequence[int], name: str) -> None:
        """As that of `ReadLimits`; then allow what such an image needs.

        Raises:
            ImageError: as there, or there are too many voxels for so small a file.
        """
        super().check(shape, name)
        voxels = math.prod(shape)
        most = max(ALWAYS_VOXELS, VOXELS_PER_BYTE * self.file_bytes)
        if voxels > most:
            raise ImageError(
                got=f"{name}, which announces {voxels} voxels in {self.file_bytes} bytes",
                allowed=f"at most {VOXELS_PER_BYTE} voxels in a byte",
                todo="export the image again, without compression",
            )
        for kind, value in self.needs(voxels).items():
            now, most = resource.getrlimit(kind)
            resource.setrlimit(kind, (min(max(now, value), most), most))
        signal.alarm(2 * resource.getrlimit(resource.RLIMIT_CPU)[0])

    def needs(self, voxels: int) -> dict[int, int]:
        """What an image of so many voxels needs, by the resource's number."""
        image = BYTES_PER_VOXEL * voxels
        return {
            resource.RLIMIT_AS: self.base + FLOOR_BYTES + COPIES * self.largest_bytes + image,
            resource.RLIMIT_CPU: SECONDS + voxels // VOXELS_PER_SECOND,
            resource.RLIMIT_FSIZE: FLOOR_BYTES + image if self.may_write else 0,
        }


def bound(limits: ReadLimits, path: Path, *, may_write: bool = False) -> BoundedLimits:
    """Bound this process for good by what ``limits`` allow, and for now by what a header needs.

    Args:
        limits: how large an image may be.
        path: file, or folder with the files of one.
        may_write: the image is to be written to a file.

    Returns:
        The limits to read with.
    """
    files = [path] if path.is_file() else [one for one in path.glob("*") if one.is_file()]
    sizes = [one.stat().st_size for one in files] or [0]
    found = BoundedLimits(limits.max_voxels, sum(sizes), max(sizes), _addresses(), may_write)
    first, last = found.needs(0), found.needs(limits.max_voxels)
    for kind in first:
        resource.setrlimit(kind, _within(first[kind], last[kind], resource.getrlimit(kind)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(2 * SECONDS)
    return found


def _within(now: int, most: int, given: int) -> tuple[int, int]:
    """A bound and the one that it may be raised to, both within the one that was given to us."""
    if given == resource.RLIM_INFINITY:
        return now, most
    return min(now, given), min(most, given)


def _addresses() -> int:
    try:
        return int(_PAGES.read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return _UNKNOWN_BASE

"""Has images of unknown origin read in processes of their own, with bounds on what they may take.

Decoders are native code. A file made to harm one, or just a damaged one, can end a process or fill
the memory of a computer; what it ends here is a child that holds nothing. Only a file that a child
has read to the end is then read by whoever asked, or only the plain file that a child made of it.
The child is `lib.imaging.trial_child`, its bounds are those of `lib.imaging.bounded`.

Starting Python and its libraries takes longer than most reading, so one process does that and
copies itself (fork) for each file. It has no threads, reads nothing itself, and ends with the
process that started it, because its input ends.

Concurrency contract: ``_lock`` is held while a file is tried; files are tried one after the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

from lib.errors import ImageError, UnavailableError
from lib.imaging.grid import ReadLimits

ROOT = Path(__file__).resolve().parents[2]


class Trial:
    """Tries files in children."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def read(self, path: Path, limits: ReadLimits) -> None:
        """See that an image can be read.

        Args:
            path: file, or folder with one DICOM series.
            limits: how large it may be; what a child may take follows from it and from the header.

        Raises:
            ImageError: it cannot be read, or broke the process that tried.
        """
        self._have_done(path, None, limits)

    def convert(self, folder: Path, target: Path, limits: ReadLimits) -> None:
        """Have a DICOM series written as NIfTI, see `lib.imaging.series_file`.

        Args:
            folder: of the files.
            target: a name that ends in .nii.gz.
            limits: as for `read`.

        Raises:
            ImageError: the files make no image, or broke the process that tried.
            UnavailableError: the disk does not take it.
        """
        self._have_done(folder, target, limits)

    def prepare(self) -> None:
        """Start the process now, so that the first file need not wait for it."""
        with self._lock:
            self._start()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _have_done(self, path: Path, target: Path | None, limits: ReadLimits) -> None:
        to = None if target is None else str(target)
        question = json.dumps([str(path), to, limits.max_voxels])
        with self._lock:
            said = self._ask(question)
            if said is None:  # the process was ended from outside
                said = self._ask(question)
        if said is None:
            raise broke("the process that tries files does not run")
        if said:
            kind = UnavailableError if said.pop("kind") == UnavailableError.__name__ else ImageError
            raise kind(**said)

    def _ask(self, question: str) -> dict[str, str] | None:
        stdin, stdout = self._start()
        try:
            stdin.write(question + "\n")
            stdin.flush()
            found: dict[str, str] = json.loads(stdout.readline())["said"]
            return found
        except (OSError, ValueError):
            self._end()
            return None

    def _start(self) -> tuple[IO[str], IO[str]]:
        """The way to the process, and back."""
        if self._process is None or self._process.poll() is not None:
            self._process = _start()
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        return stdin, stdout

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            with suppress(OSError), self._process:  # closes both pipes, and waits
                self._process = None


def _start() -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "lib.imaging.trial_child"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # Ctrl-C is for the server, which then ends it
    )


def broke(how: str) -> ImageError:
    """The error for a file that does harm to whoever reads it."""
    return ImageError(
        got=f"a file that cannot be read: {how}",
        allowed="an image that can be read in bounded time and memory",
        todo="export the image again, without compression",
    )

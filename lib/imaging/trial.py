"""Reads images of unknown origin in processes of their own, with bounds on what they may take.

Decoders are native code. A file made to harm one, or just a damaged one, can end a process or fill
the memory of a computer; what it ends here is a child that holds nothing. Only a file that a child
has read to the end is then read by whoever asked.

Starting Python and its libraries takes longer than most reading, so one process does that and
copies itself (fork) for each file. It has no threads, reads nothing itself, and ends with the
process that started it, because its input ends.

Concurrency contract: ``_lock`` is held while a file is tried; files are tried one after the other.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib.errors import ImageError
from lib.imaging.grid import ReadLimits

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
"""Of processor time for a file, and half of the time by the clock."""
BASE_BYTES = 3 << 30
"""Addresses that Python and its libraries take before anything is read."""
BYTES_PER_VOXEL = 24
"""In doubles, three times: as decoded, rescaled, in its last type."""
MAX_SAID = 1 << 14


class Trial:
    """Tries files in children."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def read(self, path: Path, limits: ReadLimits) -> None:
        """See that an image can be read.

        Args:
            path: file, or folder with one DICOM series.
            limits: how large it may be; what a child may take follows from it.

        Raises:
            ImageError: it cannot be read, or broke the process that tried.
        """
        question = json.dumps([str(path), limits.max_voxels])
        with self._lock:
            # Once more where the process was ended from outside.
            said = self._ask(question) or self._ask(question)
        if said is None:
            raise _broke("the process that tries files does not run")
        if said:
            raise ImageError(**said)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ask(self, question: str) -> dict[str, str] | None:
        if self._process is None or self._process.poll() is not None:
            self._process = _start()
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(question + "\n")
            stdin.flush()
            found: dict[str, str] = json.loads(stdout.readline())["said"]
            return found
        except (OSError, ValueError):
            self._end()
            return None

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            with suppress(OSError), self._process:  # closes both pipes, and waits
                self._process = None


def _start() -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "lib.imaging.trial"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # Ctrl-C is for the server, which then ends it
    )


def _broke(how: str) -> ImageError:
    return ImageError(
        got=f"a file that cannot be read: {how}",
        allowed="an image that can be read in bounded time and memory",
        todo="export the image again, without compression",
    )


def _parts(error: ImageError) -> dict[str, str]:
    return {"got": error.got, "allowed": error.allowed, "todo": error.todo}


def serve() -> None:
    """Answer questions, a line of JSON each, until there are no more."""
    from lib.imaging.volume import read_volume  # before the first copy is made

    for line in sys.stdin:
        path, max_voxels = json.loads(line)
        limits = ReadLimits(max_voxels=max_voxels)
        print(json.dumps({"said": _try(read_volume, Path(path), limits)}), flush=True)


def _try(read: Any, path: Path, limits: ReadLimits) -> dict[str, str]:
    """What a copy of this process says of a file; empty where it can read it."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.close(ours)
        _bound(limits.max_voxels)
        said = _read(read, path, limits)
        os.write(theirs, json.dumps(said).encode()[:MAX_SAID])
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        text = pipe.read(MAX_SAID)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) or not text:
        late = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGALRM, signal.SIGXCPU)
        return _parts(_broke("it takes too long" if late else "it breaks its decoder"))
    try:
        found: dict[str, str] = json.loads(text)
    except ValueError:
        return _parts(_broke("too much is wrong with it"))
    return found


def _read(read: Any, path: Path, limits: ReadLimits) -> dict[str, str]:
    try:
        read(path, limits)
    except ImageError as error:
        return _parts(error)
    except MemoryError:
        return _parts(_broke("it takes more memory than its voxels need"))
    except Exception as error:
        return _parts(_broke(repr(error)[:200]))
    return {}


def _bound(max_voxels: int) -> None:
    """Limit memory, time, and files of this process."""
    most = BASE_BYTES + BYTES_PER_VOXEL * max_voxels
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    signal.alarm(2 * SECONDS)


if __name__ == "__main__":
    serve()

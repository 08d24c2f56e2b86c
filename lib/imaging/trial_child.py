"""The process that reads files for `lib.imaging.trial`, and the copies of it that read one each.

It answers a line of JSON with a line of JSON: ``[path, target, max_voxels]``, where a target says
that the image is to be written there, with ``{"said": {}}`` or the parts of an error.

Concurrency contract: one thread, which reads nothing itself; a copy ends after its file.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lib.errors import ImageError, Samed2dError, UnavailableError
from lib.imaging.bounded import bound
from lib.imaging.grid import ReadLimits
from lib.imaging.trial import broke

MAX_SAID = 1 << 14

Work = Callable[[ReadLimits], object]
"""What is to be done with the file at hand, within limits."""


def serve() -> None:
    """Answer questions until there are no more."""
    # Before the first copy is made.
    from lib.imaging.series_file import write_series
    from lib.imaging.volume import read_volume

    for line in sys.stdin:
        path, target, max_voxels = json.loads(line)
        source, limits = Path(path), ReadLimits(max_voxels=max_voxels)
        work: Work = partial(read_volume, source)
        if target is not None:
            work = partial(write_series, source, Path(target))
        said = attempt(work, source, limits, may_write=target is not None)
        print(json.dumps({"said": said}), flush=True)


def attempt(work: Work, path: Path, limits: ReadLimits, *, may_write: bool) -> dict[str, str]:
    """What a copy of this process says of a file; empty where all went well."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.close(ours)
        said = _do(work, bound(limits, path, may_write=may_write))
        os.write(theirs, json.dumps(said).encode()[:MAX_SAID])
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        text = pipe.read(MAX_SAID)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) or not text:
        late = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGALRM, signal.SIGXCPU)
        return _parts(broke("it takes too long" if late else "it breaks its decoder"))
    try:
        found: dict[str, str] = json.loads(text)
    except ValueError:
        return _parts(broke("too much is wrong with it"))
    return found


def _do(work: Work, limits: ReadLimits) -> dict[str, str]:
    try:
        work(limits)
    except (ImageError, UnavailableError) as error:
        return _parts(error)
    except MemoryError:
        return _parts(broke("it takes more memory than its voxels need"))
    except Exception as error:
        return _parts(broke(repr(error)[:200]))
    return {}


def _parts(error: Samed2dError) -> dict[str, str]:
    kind = type(error).__name__
    return {"kind": kind, "got": error.got, "allowed": error.allowed, "todo": error.todo}


if __name__ == "__main__":
    serve()

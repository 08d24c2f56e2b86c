"""Python processes that begin with the packages the host needs already imported.

MONAI Label's server imports `monai.apps`, and with it torch, pandas, matplotlib, mlflow, ...: nine
tenths of what a start takes, and much of what a script that trains does. One process imports them
and copies itself (fork) for each server or script that the tests start. Nothing of the host or of
ours is imported before the copy, so that both are loaded in the environment, the working directory
and the order of any other start.

The process that copies itself has no thread beside its first (but pyarrow's allocator, which knows
of copies), and ends when its input does, which the operating system sees to when the tests end in
whatever way.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

PACKAGES = (
    *("monai.apps", "monai.transforms", "monai.networks", "monai.inferers", "monai.handlers"),
    *("torch", "torchvision", "numpy", "scipy", "skimage", "pandas", "matplotlib.pyplot"),
    *("uvicorn", "fastapi", "requests", "pydicom", "nibabel", "SimpleITK", "cryptography"),
)
"""Third parties' that a server or a script imports; what is not named is imported by each."""
POLL_SECONDS = 0.02


class PreparedProcess:
    """A copy: as much of `subprocess.Popen` as is asked of a server.

    Attributes:
        pid: its process id.
    """

    def __init__(self, pid: int, code: Path) -> None:
        self.pid = pid
        self._code = code

    def poll(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        with suppress(FileNotFoundError):
            return int(self._code.read_text())
        return None

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, when there is one.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(["prepared", str(self.pid)], timeout or 0)
            time.sleep(POLL_SECONDS)
        return code

    def kill(self) -> None:
        """End it at once."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


_source: subprocess.Popen[str] | None = None


def start_prepared(
    arguments: list[str], *, cwd: Path, env: Mapping[str, str], out: Path, err: Path | None = None
) -> PreparedProcess:
    """Run a program in a copy, as ``python -m MODULE`` or ``python FILE`` would.

    Args:
        arguments: the module's name or the path of a file ``*.py``, then its arguments.
        cwd: working directory.
        env: all environment variables.
        out: file for what it writes to stdout; its exit code comes to lie beside it.
        err: the same for stderr; None for one file with both.
    """
    source = _running_source()
    assert source.stdin is not None
    assert source.stdout is not None
    code = out.with_suffix(".code")
    files = {"out": str(out), "err": str(err or out), "code": str(code)}
    question = {"arguments": arguments, "cwd": str(cwd), "env": dict(env), **files}
    source.stdin.write(json.dumps(question) + "\n")
    source.stdin.flush()
    return PreparedProcess(int(source.stdout.readline()), code)


def run_prepared(
    *arguments: str | Path, env: Mapping[str, str], timeout: float, cwd: str | Path = "."
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; see `start_prepared`.

    Raises:
        subprocess.TimeoutExpired: it had to be killed.
    """
    words = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory(prefix="samed2d-prepared-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = start_prepared(words, cwd=Path(cwd).absolute(), env=env, out=out, err=err)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())


def _running_source() -> subprocess.Popen[str]:
    """The process that copies itself; started by the first who needs it."""
    global _source
    if _source is None:
        ours = ("SAMED2D_", "MONAI_LABEL_", "PYTHONPATH")
        env = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        _source = subprocess.Popen(
            [sys.executable, __file__],
            env={**env, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    return _source


def _run(question: dict[str, Any]) -> None:
    """Become what was asked for; in the copy."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    write = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [os.open(os.devnull, os.O_RDONLY)]
    files += [os.open(question[name], write) for name in ("out", "err")]
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    os.environ.clear()
    os.environ.update(question["env"])
    os.chdir(question["cwd"])
    # What a process of its own would find out for itself.
    tempfile.tempdir = None
    importlib.import_module("numpy").random.seed()
    sys.argv = question["arguments"]
    more = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if sys.argv[0].endswith(".py"):
        sys.path[0] = str(Path(sys.argv[0]).parent)
        sys.path[1:1] = more
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        sys.path[0] = question["cwd"]
        sys.path[1:1] = more
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _reap(codes: dict[int, Path]) -> None:
    """Write down the exit codes of copies that have ended."""
    while codes:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        part = codes[pid].with_suffix(".part")
        with suppress(FileNotFoundError):  # nobody waits any more: the folder is gone
            part.write_text(str(os.waitstatus_to_exitcode(status)))
            part.replace(codes[pid])
        del codes[pid]


def _serve() -> dict[str, Any] | None:
    """Copy this process as often as asked, until the input ends.

    Returns:
        In a copy: what it was asked for. Else None.
    """
    ended, end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    codes: dict[int, Path] = {}
    while True:
        ready, _, _ = select.select([sys.stdin, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            _reap(codes)
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return None
            question: dict[str, Any] = json.loads(line)
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                os.close(ended)
                os.close(end)
                return question
            codes[pid] = Path(question["code"])
            print(pid, flush=True)


if __name__ == "__main__":
    for package in PACKAGES:
        importlib.import_module(package)
    asked = _serve()
    if asked is not None:
        _run(asked)

"""The real server in a process of its own, as ``scripts/start.sh`` starts it, on the loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import requests

from scripts._benchmark.errors import BenchmarkError

APP = Path(__file__).resolve().parents[2] / "apps" / "samed2d"
START_SECONDS = 300.0
STOP_SECONDS = 10.0
LOG_TAIL = 3000


@dataclass(frozen=True)
class RunningServer:
    """A server that answers.

    Attributes:
        url: without a slash at the end.
        process: id, for its memory.
        seconds_to_start: until it answered.
    """

    url: str
    process: int
    seconds_to_start: float


@contextlib.contextmanager
def running_server(studies: Path, conf: Mapping[str, str]) -> Iterator[RunningServer]:
    """Start a server and stop it with all it started, whatever happens in between.

    It inherits the environment but for options of the host and of this app, has temporary folders
    of its own, and nothing of it is left afterwards.

    Args:
        studies: folder of images.
        conf: ``--conf`` pairs.

    Raises:
        BenchmarkError: it ended during its start or did not answer in time; with its last words.
    """
    with tempfile.TemporaryDirectory(prefix="samed2d-benchmark-", ignore_cleanup_errors=True) as f:
        home, port = Path(f), free_port()
        for name in ("tmp", "sessions", "dicom"):
            (home / name).mkdir()
        with (home / "server.log").open("wb") as log:
            process = subprocess.Popen(
                server_command(studies, port, conf),
                cwd=home,
                env=server_environment(home),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone, and we end the whole group
            )
        try:
            seconds = wait_until_ready(f"http://127.0.0.1:{port}", process, home / "server.log")
            yield RunningServer(f"http://127.0.0.1:{port}", process.pid, seconds)
        finally:
            end_server(process)


def server_command(studies: Path | str, port: int, conf: Mapping[str, str]) -> list[str]:
    """The command line of a server on a port of the loopback; see `running_server`."""
    command = [sys.executable, "-m", "monailabel.main", "start_server"]
    command += ["--app", str(APP), "--studies", str(studies)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    for key, value in conf.items():
        command += ["--conf", key, value]
    return command


def server_environment(home: Path) -> dict[str, str]:
    """Its environment: ours without options, with folders of its own in ``home``."""
    ours = ("MONAI_LABEL_", "SAMED2D_", "PYTHONPATH")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return kept | {
        "PYTHONUNBUFFERED": "1",
        # What is measured is not to be disturbed; --conf takes precedence.
        "SAMED2D_SCORE_BUDGET": "0",
        # Keys of the servers of this computer are none of its own.
        "XDG_CONFIG_HOME": str(home / "config"),
        "TMPDIR": str(home / "tmp"),
        "MONAI_LABEL_SESSION_PATH": str(home / "sessions"),
        "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(home / "dicom"),
    }


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> float:
    """Seconds until ``/info/`` answers; that it wants a key is an answer too.

    Raises:
        BenchmarkError: it ended, or is silent.
    """
    started = time.perf_counter()
    while (seconds := time.perf_counter() - started) < START_SECONDS:
        if process.poll() is not None:
            raise BenchmarkError(f"the server ended during its start: {_last_words(log)}")
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{url}/info/", timeout=30).status_code in (200, 401):
                return seconds
        time.sleep(0.1)
    raise BenchmarkError(f"the server is silent after {START_SECONDS:.0f} s: {_last_words(log)}")


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace")[-LOG_TAIL:].strip() or "it wrote nothing"


def end_server(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children, politely first."""
    _signal_group(process, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if hasattr(signal, "SIGKILL"):
        _signal_group(process, signal.SIGKILL)  # children that did not listen


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        else:
            process.terminate()


def free_port() -> int:
    """A port of the loopback that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

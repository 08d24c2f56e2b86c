"""Real MONAI Label server processes for tests: start, wait, show the log, stop with all children.

```python
with start_server(studies, conf={"labels": "liver"}) as server:
    requests.get(server.url + "/info/").json()
```

The server runs in a process of its own, on a free port of the loopback, from a working directory
that is not the repository, with private folders for sessions, temporary files and the DICOMweb
cache. Nothing of it is left when the context ends. What the host imports of third parties is there
already (`tests.support.prepared`), unless a test asks for a start from nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.support.prepared import PreparedProcess, start_prepared

REPOSITORY = Path(__file__).resolve().parents[2]
APP = REPOSITORY / "apps" / "samed2d"
START_SECONDS = 180
"""How long a start may take before it counts as failed: imports on one busy core are slow."""
LOG_TAIL = 6000


class ServerStartError(AssertionError):
    """The server ended or stayed silent; the message holds the exit code and the log's end.

    Attributes:
        exit_code: of the process; None where it had to be killed.
        log: everything it wrote.
    """

    def __init__(self, reason: str, exit_code: int | None, log: str) -> None:
        self.exit_code = exit_code
        self.log = log
        super().__init__(f"{reason}; exit code {exit_code}; log:\n{log[-LOG_TAIL:]}")


@dataclass(frozen=True)
class RunningServer:
    """A server that answers.

    Attributes:
        url: base address without a slash at the end, for instance ``http://127.0.0.1:41234``.
        process: the server process.
        log_path: file with its stdout and stderr; gone when the context has ended.
        home: private folder of the server: ``tmp`` (TMPDIR), ``sessions``, ``dicom``, ``cwd``.
    """

    url: str
    process: subprocess.Popen[bytes] | PreparedProcess
    log_path: Path
    home: Path

    def log(self) -> str:
        """Everything the server has written so far."""
        return self.log_path.read_text(errors="replace")

    def info(self) -> dict[str, Any]:
        """The answer of ``GET /info/``."""
        answer = requests.get(f"{self.url}/info/", timeout=60)
        answer.raise_for_status()
        return dict(answer.json())


def free_port() -> int:
    """A TCP port of the loopback that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_command(
    studies: Path | str, port: int, conf: Mapping[str, str], app_dir: Path = APP
) -> list[str]:
    """The command line of MONAI Label's server, as argument list.

    ``python -m monailabel.main`` rather than ``bin/monailabel``: that script passes its arguments
    unquoted, so a space in a value would break it.
    """
    command = [sys.executable, "-m", "monailabel.main", "start_server"]
    command += ["--app", str(app_dir), "--studies", str(studies)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    for key, value in conf.items():
        command += ["--conf", key, value]
    return command


def server_environment(home: Path, env: Mapping[str, str]) -> dict[str, str]:
    """The server's environment: ours, with private folders and one thread; ``env`` wins."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("MONAI_LABEL_", "SAMED2D_")) and key != "PYTHONPATH"
    }
    environment.update(
        OMP_NUM_THREADS="1",
        PYTHONUNBUFFERED="1",
        TMPDIR=str(home / "tmp"),
        MONAI_LABEL_SESSION_PATH=str(home / "sessions"),
        MONAI_LABEL_DICOMWEB_CACHE_PATH=str(home / "dicom"),
        # A faster encoder takes the processor for seconds at each start; tests that want it say so.
        SAMED2D_BACKEND="torch",
        # So does scoring images, which also encodes slices that a test means to click first.
        SAMED2D_SCORE_BUDGET="0",
        SAMED2D_CACHE_DIR=str(home / "cache"),
        SAMED2D_REGISTRY=str(home / "registry"),
        SAMED2D_JOURNAL=str(home / "journal"),
    )
    environment.update(env)
    return environment


def stop_tree(process: subprocess.Popen[bytes] | PreparedProcess) -> None:
    """End a process and all its descendants, politely first."""
    try:
        parent = psutil.Process(process.pid)
        family = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        process.wait()
        return
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    _, alive = psutil.wait_procs(family, timeout=10)
    for member in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def _wait_until_ready(server: RunningServer, seconds: float, ready: int) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        code = server.process.poll()
        if code is not None:
            raise ServerStartError("the server ended during its start", code, server.log())
        try:
            if requests.get(f"{server.url}/info/", timeout=30).status_code == ready:
                return
        except requests.RequestException:
            pass
        time.sleep(0.2)
    raise ServerStartError(f"no /info within {seconds:.0f} s", None, server.log())


def _start_from_nothing(
    command: list[str], cwd: Path, env: dict[str, str], log_path: Path
) -> subprocess.Popen[bytes]:
    with log_path.open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _start_prepared(
    command: list[str], cwd: Path, env: dict[str, str], log_path: Path
) -> PreparedProcess:
    log_path.touch()
    _, _, *arguments = command  # python -m
    return start_prepared(arguments, cwd=cwd, env=env, out=log_path)


@contextlib.contextmanager
def start_server(
    studies: Path | str,
    *,
    conf: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    port: int | None = None,
    app_dir: Path = APP,
    start_seconds: float = START_SECONDS,
    ready: int = 200,
    from_nothing: bool = False,
) -> Iterator[RunningServer]:
    """Start a server, wait until ``/info/`` answers, give it out, stop it with its children.

    Args:
        studies: folder of images, or the URL of a DICOMweb server.
        conf: ``--conf`` pairs.
        env: further environment variables.
        port: port on the loopback; a free one where None.
        app_dir: the MONAI Label app to serve.
        start_seconds: longest time until ``/info/`` answers.
        ready: status of its answer; 401 where the server wants a key.
        from_nothing: in a new Python that imports everything itself, as a user's does.

    Raises:
        ServerStartError: the process ended, or did not answer in time.
    """
    home = Path(tempfile.mkdtemp(prefix="samed2d-server-"))
    for name in ("tmp", "sessions", "dicom", "cwd"):
        (home / name).mkdir()
    port = free_port() if port is None else port
    log_path = home / "server.log"
    try:
        command = server_command(studies, port, conf or {}, app_dir)
        environment = server_environment(home, env or {})
        start = _start_from_nothing if from_nothing else _start_prepared
        process = start(command, home / "cwd", environment, log_path)
        server = RunningServer(f"http://127.0.0.1:{port}", process, log_path, home)
        try:
            _wait_until_ready(server, start_seconds, ready)
            yield server
        except ServerStartError:
            raise
        except BaseException:
            print(f"--- end of the server's log ---\n{server.log()[-LOG_TAIL:]}", file=sys.stderr)
            raise
        finally:
            stop_tree(process)
    finally:
        shutil.rmtree(home, ignore_errors=True)

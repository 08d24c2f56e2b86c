"""A server that can be killed and started again on what it left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from scripts._benchmark.server import (
    end_server,
    free_port,
    server_command,
    server_environment,
    wait_until_ready,
)

MIB = 1 << 20


class Server:
    """A server process; all it keeps is in one folder.

    Args:
        home: the folder.
        studies: folder of images, or address of a PACS.
        conf: ``--conf`` pairs.
        log: file for what it says, on another disk than one that is to be full.

    Attributes:
        url: its address, the same after each start.
    """

    def __init__(self, home: Path, studies: Path | str, conf: Mapping[str, str], log: Path) -> None:
        self._home, self._studies, self._port = home, studies, free_port()
        self._log = log
        own = {name: str(home / name) for name in ("cache_dir", "registry", "journal")}
        self._conf = {**own, "audit_log": str(home / "audit.log"), **conf}
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it; seconds until it answers.

        Raises:
            BenchmarkError: it does not.
        """
        for name in ("tmp", "sessions", "dicom", "logs"):
            (self._home / name).mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                server_command(self._studies, self._port, self._conf),
                cwd=self._home,
                env=server_environment(self._home),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return wait_until_ready(self.url, self._process, self._log)

    def kill(self) -> None:
        """End it and all it started with SIGKILL."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def kill_child(self, words: str) -> bool:
        """End one process it started with SIGKILL; False where there is none. Of Linux.

        Args:
            words: of its command line.
        """
        assert self._process is not None
        for number in _children(self._process.pid):
            with contextlib.suppress(OSError):  # it has just ended
                if words.encode() in Path(f"/proc/{number}/cmdline").read_bytes():
                    os.kill(number, signal.SIGKILL)
                    return True
        return False

    def stop(self) -> None:
        """End it politely."""
        if self._process is not None:
            end_server(self._process)
            self._process = None

    @property
    def memory(self) -> float:
        """Resident memory of the server process in MiB; of Linux."""
        assert self._process is not None
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / MIB

    def log(self) -> str:
        """All it has said."""
        return self._log.read_text(errors="replace")


def _children(process: int) -> list[int]:
    """Ids of the processes that all threads of a process have started."""
    found = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has just ended
            found += [int(number) for number in path.read_text().split()]
    return found

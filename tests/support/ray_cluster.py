"""A Ray cluster of two nodes on this machine, as processes of their own, for tests.

Each node is what ``ray start`` makes of a machine. Nothing listens but on the loopback, and nothing
is told to the makers of Ray.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.server import free_port

START_SECONDS = 180
"""A node needs several seconds; the rest is for a machine that is busy with something else."""

END_SECONDS = 30
STARTED = "Ray runtime started"
OPTIONS = (
    "--node-ip-address=127.0.0.1",
    "--num-cpus=1",
    "--num-gpus=0",
    "--object-store-memory=80000000",
    "--min-worker-port=0",
    "--max-worker-port=0",
    "--disable-usage-stats",
    "--block",
)
"""Of both nodes. The usual range of ports would be used twice."""


@dataclass(frozen=True)
class Node:
    """One node of the cluster."""

    process: psutil.Process

    def owns(self, process: psutil.Process) -> bool:
        """Whether a process runs on this node."""
        return self.process in process.parents()

    def kill(self) -> list[psutil.Process]:
        """End it as a power cut would: all its processes at once, without waiting for them."""
        processes = [*self.process.children(recursive=True), self.process]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return processes


@dataclass(frozen=True)
class TwoNodes:
    """A running cluster.

    Attributes:
        address: for --ray-address.
        first: holds the cluster together.
        second: may be killed.
        environment: with which its nodes know each other, and others may join.
    """

    address: str
    first: Node
    second: Node
    environment: dict[str, str]


@contextlib.contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """Start two nodes of one core each, give them out, end them and all they started."""
    # Not a folder of pytest: the paths of sockets may not be long.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    address = f"127.0.0.1:{free_port()}"
    environment = _environment(folder)
    nodes: list[Node] = []
    try:
        head = (f"--port={address.split(':')[1]}", "--head", f"--temp-dir={folder}")
        for name, more in (
            ("first", (*head, "--include-dashboard=false")),
            ("second", (f"--address={address}",)),
        ):
            nodes.append(_start(folder / f"{name}.log", more, environment))
            _wait_until_started(folder / f"{name}.log", nodes[-1])
        yield TwoNodes(address, nodes[0], nodes[1], environment)
    finally:
        for node in reversed(nodes):
            if _runs(node.process):
                _wait_until_gone(node.kill())
        shutil.rmtree(folder, ignore_errors=True)


def _runs(process: psutil.Process) -> bool:
    """Whether a process does something; one that nobody asks for its exit code does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait_until_gone(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + END_SECONDS
    while any(map(_runs, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)


def _environment(folder: Path) -> dict[str, str]:
    """With a token that only this cluster has; one of the user's own must not count."""
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    # What the command under test lets its workers import is its own affair.
    mine = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("RAY_")}
    return {**mine, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}


def _start(log: Path, options: tuple[str, ...], environment: dict[str, str]) -> Node:
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("ray")), "start", *options, *OPTIONS],
            cwd=log.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    return Node(psutil.Process(process.pid))


def _wait_until_started(log: Path, node: Node) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if STARTED in log.read_text(errors="replace"):
            return
        if not _runs(node.process):
            break
        time.sleep(0.1)
    raise AssertionError(f"a node of Ray did not start:\n{log.read_text(errors='replace')[-4000:]}")

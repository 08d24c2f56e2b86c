"""A Ray cluster of two nodes on this machine, as processes of their own, for tests.

Each node is what ``ray start`` makes of a machine. Nothing listens but on the loopback, and nothing
is told to the makers of Ray.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.server import free_port

START_SECONDS = 180
"""A node needs several seconds; the rest is for a machine that is busy with something else."""

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

    def kill(self) -> None:
        """End it as a power cut would: all its processes at once."""
        processes = [*self.process.children(recursive=True), self.process]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, 30)


@dataclass(frozen=True)
class TwoNodes:
    """A running cluster.

    Attributes:
        address: for --ray-address.
        first: holds the cluster together.
        second: may be killed.
    """

    address: str
    first: Node
    second: Node


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """Start two nodes of one core each, give them out, end them and all they started."""
    # Not a folder of pytest: the paths of sockets may not be long.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    address = f"127.0.0.1:{free_port()}"
    nodes: list[Node] = []
    try:
        head = (f"--port={address.split(':')[1]}", "--head", f"--temp-dir={folder}")
        for name, more in (
            ("first", (*head, "--include-dashboard=false")),
            ("second", (f"--address={address}",)),
        ):
            nodes.append(_start(folder / f"{name}.log", more))
            _wait_until_started(folder / f"{name}.log", nodes[-1])
        yield TwoNodes(address, nodes[0], nodes[1])
    finally:
        for node in reversed(nodes):
            if node.process.is_running():
                node.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _start(log: Path, options: tuple[str, ...]) -> Node:
    # What the command under test lets its workers import is its own affair: no PYTHONPATH.
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
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
        if not node.process.is_running() or node.process.status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.1)
    raise AssertionError(f"a node of Ray did not start:\n{log.read_text(errors='replace')[-4000:]}")

#!/usr/bin/env python3
"""Kill the server, fill its disk, take its PACS away, again and again: no saved label may be lost.

Users click and save at a server of their own while things happen at random moments: the server and
all it started end with SIGKILL and it is started again; its disk is full for a while; the PACS, if
there is one, is away for a while. After each event, with nobody at work, what the server hands out
is compared voxel by voxel with what was saved: of each image the label of the last acknowledged
save stands, or that of a later one whose answer got lost. A training runs meanwhile, and the server
must answer a click after each event, so a version that can serve is always there.

The small disk is a file system in memory of Linux (unshare). Where the system does not allow one,
there are no events of a full disk, and the last line says so.

With --pacs the server uses that PACS, through a gate that can be closed. It must hold images, and
gets the labels as DICOM SEG: take one for tests.

Examples:
    python scripts/check_saves.py --events 200
    python scripts/check_saves.py --events 200 --pacs http://127.0.0.1:8042/dicom-web

Exit codes: 0 nothing was lost, 1 something was, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import requests

from scripts._load.cases import Case, write_cases
from scripts._load.gate import Gate
from scripts._load.ledger import Ledger
from scripts._load.pacs_cases import pacs_cases
from scripts._load.person import Person, Tally
from scripts._load.server import Server
from scripts._load.small_disk import INSIDE, fill, is_possible, make_room, run_inside
from scripts._load.training import SETTINGS

LONGEST = 3.0
"""Seconds of work before an event, and of a full disk or an absent PACS, at most."""
SPARE = 200_000
"""Bytes that a full disk may have left: enough for some files, not for all."""
PATIENCE = 60.0
SHOWN = 20


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--minutes", type=float, default=1e6, help="end after them at the latest")
    parser.add_argument("--users", type=int, default=4, help="at the same time (default 4)")
    parser.add_argument("--cases", type=int, default=4, help="images (default 4)")
    parser.add_argument("--disk", type=int, default=400, help="size in MiB (default 400)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default 0)")
    parser.add_argument("--pacs", metavar="URL", help="DICOMweb address of a PACS for tests")
    parser.add_argument("--log", type=Path, help="keep the server's log there if something fails")
    return parser.parse_args(arguments)


class Storm:
    """Users at a server, and what happens to it.

    Args:
        chosen: the command line.
        disk: folder that the server writes to.
        has_disk: the folder is a disk of its own.
        log: file for what the server says.
    """

    def __init__(self, chosen: argparse.Namespace, disk: Path, has_disk: bool, log: Path) -> None:
        self._disk, self._rng = disk, np.random.default_rng(chosen.seed)
        self._gate = None if chosen.pacs is None else Gate(chosen.pacs)
        studies: Path | str = disk / "images"
        if self._gate is None:
            self._cases: tuple[Case, ...] = write_cases(disk / "images", chosen.cases)
        else:
            self._cases, studies = pacs_cases(chosen.pacs, chosen.cases), self._gate.address
        conf = {"architecture": "samed2d_t", "backend": "torch", "labels": "liver,spleen"}
        self._server = Server(disk / "server", studies, conf, log)
        self.ledger, self.tally, self.events = Ledger(), Tally(), Counter[str]()
        self._people = [self._person(number) for number in range(chosen.users)]
        self._kinds: list[Callable[[], None]] = [self._killed]
        self._kinds += [self._disk_full] if has_disk else []
        self._kinds += [] if self._gate is None else [self._pacs_away]

    def rage(self, events: int, minutes: float) -> None:
        """Let so many things happen, or fewer in so many minutes."""
        end = time.monotonic() + 60 * minutes
        self._server.start()
        try:
            for number in range(events):
                if time.monotonic() > end:
                    break
                kind = self._kinds[int(self._rng.integers(len(self._kinds)))]
                kind()
                self._check(kind.__name__)
                print(
                    f"\r{number + 1} of {events} events, {self.ledger.acknowledged} labels saved, "
                    f"{len(self.problems)} problems",
                    end="",
                    flush=True,
                )
        finally:
            self._server.stop()
            if self._gate is not None:
                self._gate.close()
        print()

    @property
    def problems(self) -> list[str]:
        """What went wrong, but for answers that an event explains."""
        return self.ledger.problems + self.tally.problems

    def _killed(self) -> None:
        self._train()
        self._at_work(self._server.kill)
        self.events["kill"] += 1
        self._server.start()

    def _disk_full(self) -> None:
        def for_a_while() -> None:
            fill(self._disk, leave=int(self._rng.integers(SPARE)))
            time.sleep(float(self._rng.uniform(0, LONGEST)))

        self._at_work(for_a_while)
        make_room(self._disk)
        self.events["disk full"] += 1

    def _pacs_away(self) -> None:
        assert self._gate is not None
        gate = self._gate

        def for_a_while() -> None:
            gate.close()
            time.sleep(float(self._rng.uniform(0, LONGEST)))

        self._at_work(for_a_while)
        gate.open()
        self.events["PACS away"] += 1

    def _at_work(self, event: Callable[[], None]) -> None:
        """Let something happen while everybody works; afterwards nobody does."""
        end = threading.Event()
        threads = [threading.Thread(target=self._work, args=(one, end)) for one in self._people]
        for thread in threads:
            thread.start()
        time.sleep(float(self._rng.uniform(0, LONGEST)))
        try:
            event()
        finally:
            end.set()
            for thread in threads:
                thread.join()

    @staticmethod
    def _work(person: Person, end: threading.Event) -> None:
        while not end.is_set():
            person.act()

    def _check(self, event: str) -> None:
        """All that stands is what was saved, and a click is answered."""
        checker = self._person(len(self._people))
        before = len(self.tally.problems)
        deadline = time.monotonic() + PATIENCE
        for case in self._cases:
            found = None
            while found is None and time.monotonic() < deadline:
                try:
                    found = checker.standing(case)
                except requests.RequestException:
                    time.sleep(0.2)
            if found is None:
                self.tally.problems.append(f"after {event}: no answer on {case.image}")
            else:
                self.ledger.settle(case.image, *found)
        checker.click(self._cases[0])
        for at in range(before, len(self.tally.problems)):
            self.tally.problems[at] = f"after {event}: {self.tally.problems[at]}"

    def _train(self) -> None:
        """Begin a training; that nothing was saved yet, or one runs, is no matter."""
        requests.post(f"{self._server.url}/train/samed2d", json=dict(SETTINGS), timeout=60)

    def _person(self, number: int) -> Person:
        url, seed = self._server.url, int(self._rng.integers(1 << 30))
        return Person(url, f"user{number}", "", self._cases, self.ledger, self.tally, seed)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    chosen = parse_arguments(arguments)
    inner = os.environ.get(INSIDE)
    with tempfile.TemporaryDirectory(prefix="samed2d-saves-", ignore_cleanup_errors=True) as folder:
        disk = Path(folder, "disk")
        disk.mkdir()
        if inner is None and is_possible(disk):
            given = sys.argv[1:] if arguments is None else arguments
            return run_inside(disk, chosen.disk, [__file__, *given])
        log = Path(folder, "server.log")
        storm = Storm(chosen, disk if inner is None else Path(inner), inner is not None, log)
        storm.rage(chosen.events, chosen.minutes)
        if storm.problems and chosen.log is not None:
            chosen.log.write_bytes(log.read_bytes())
    happened = ", ".join(f"{count} {kind}" for kind, count in sorted(storm.events.items()))
    print(
        f"{happened}; {storm.ledger.acknowledged} labels saved and compared voxel by voxel, "
        f"{storm.tally.lost} answers lost, {storm.tally.busy} refused for a while"
    )
    if inner is None:
        print("No small disk can be made here: no event was a full disk.")
    print(*storm.problems[:SHOWN], f"{len(storm.problems)} problems", sep="\n")
    return 1 if storm.problems else 0


if __name__ == "__main__":
    sys.exit(main())

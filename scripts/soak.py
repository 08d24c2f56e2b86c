#!/usr/bin/env python3
"""Let many users work at one server at the same time, and see that nothing fails or gets lost.

Starts a server of its own with keys, on made-up images in a temporary folder. Users, a thread each,
click on all images, save labels on top of each other's, fetch them, ask for the next case and for
what the server has, in random order without a pause, while a training runs in the background,
again and again; there are more requests than --requests if no training has ended by then. It
fails if

* an answer is none that it should be, or none comes at all;
* the same click of two users on the same image and version gets two answers;
* a label that is handed out is not voxel by voxel the one that was saved, a saved one is lost, or
  one is replaced by somebody who did not know it;
* a training fails;
* the server's memory grows after the first quarter by more than --growth MiB.

Examples:
    python scripts/soak.py --users 4 --requests 200 --no-training
    python scripts/soak.py --json soak.json

Exit codes: 0 nothing failed, 1 something did, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from lib.server.api_keys import add_user
from lib.server.roles import Role
from scripts._load.cases import Case, write_cases
from scripts._load.ledger import Ledger
from scripts._load.memory import MemoryWatch
from scripts._load.person import Person, Tally
from scripts._load.server import Server
from scripts._load.training import Trainings

SHOWN = 20
"""So many problems are printed."""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=20, help="at the same time (default 20)")
    parser.add_argument("--requests", type=int, default=10_000, help="of all (default 10000)")
    parser.add_argument("--cases", type=int, default=6, help="images (default 6)")
    parser.add_argument("--seed", type=int, default=0, help="of what users do (default 0)")
    parser.add_argument("--growth", type=float, default=100.0, help="MiB allowed (default 100)")
    parser.add_argument("--no-training", action="store_true", help="none in the background")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Crowd:
    """Everybody at one server."""

    people: tuple[Person, ...]
    ledger: Ledger
    tally: Tally

    def work(self, requests: int, may_end: Callable[[], bool] = lambda: True) -> None:
        """Send so many requests, and more until it may end."""
        threads = [
            threading.Thread(target=self._work, args=(person, requests, may_end))
            for person in self.people
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.5)
            found = len(self.tally.problems) + len(self.ledger.problems)
            print(
                f"\r{self.tally.count} of {requests} requests, {self.ledger.acknowledged} labels "
                f"saved, {found} problems",
                end="",
                flush=True,
            )
        print()

    def _work(self, person: Person, requests: int, may_end: Callable[[], bool]) -> None:
        while self.tally.count + self.tally.lost < requests or not may_end():
            try:
                person.act()
            except Exception as error:  # a thread that ends in silence would look like success
                self.tally.problems.append(f"{person.name}: {error!r}")

    def settle(self, cases: tuple[Case, ...]) -> None:
        """Compare all that stands with all that was saved."""
        for case in cases:
            found = self.people[0].standing(case)
            if found is None:
                self.tally.problems.append(f"{case.image}: no answer on what stands")
            else:
                self.ledger.settle(case.image, *found)


def gather(url: str, cases: tuple[Case, ...], keys: list[str], seed: int) -> Crowd:
    """One user for each key."""
    ledger, tally = Ledger(), Tally()
    people = tuple(
        Person(url, f"user{number}", key, cases, ledger, tally, 1000 * seed + number)
        for number, key in enumerate(keys)
    )
    return Crowd(people, ledger, tally)


def soak(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Do it all; the figures."""
    cases = write_cases(folder / "images", chosen.cases)
    file = folder / "keys.json"
    keys = [add_user(file, f"user{number}", Role.ANNOTATOR) for number in range(chosen.users)]
    trainer = add_user(file, "the trainer", Role.TRAINER)
    conf = {
        "api_keys": str(file),
        "architecture": "samed2d_t",
        "backend": "torch",
        "labels": "liver,spleen",
    }
    server = Server(folder / "server", folder / "images", conf, folder / "server.log")
    server.start()
    try:
        crowd = gather(server.url, cases, keys, chosen.seed)
        # Nothing can be learned before something was saved.
        for person, case in zip(crowd.people, cases, strict=False):
            person.save(case)
        began = time.perf_counter()
        trainings = Trainings(server.url, trainer)
        with MemoryWatch(lambda: server.memory) as memory:
            if chosen.no_training:
                crowd.work(chosen.requests)
            else:
                with trainings:
                    crowd.work(chosen.requests, trainings.seen)
        seconds = time.perf_counter() - began
        crowd.settle(cases)
    finally:
        server.stop()
    return figures(crowd, memory, trainings, seconds) | {"users": chosen.users}


def figures(
    crowd: Crowd, memory: MemoryWatch, trainings: Trainings, seconds: float
) -> dict[str, Any]:
    """What was found."""
    tally, ledger = crowd.tally, crowd.ledger
    times = {
        kind: {
            "count": len(found),
            **{f"p{n}": round(float(np.percentile(found, n)), 3) for n in (50, 95, 99)},
            "max": round(max(found), 3),
        }
        for kind, found in sorted(tally.seconds.items())
    }
    return {
        "requests": tally.count,
        "seconds": round(seconds, 1),
        "seconds_by_kind": times,
        "labels_saved": ledger.acknowledged,
        "conflicts": tally.conflicts,
        "busy": tally.busy,
        "without_answer": tally.lost,
        "versions": len({version for _, _, version in tally.masks}),
        "trainings": trainings.done,
        "memory_mib": [round(value) for value in memory.quarters()],
        "growth_mib": round(memory.growth, 1),
        "problems": [*tally.problems, *ledger.problems, *trainings.problems],
    }


def report(found: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [f"{'':12} {'count':>7} {'p50 s':>8} {'p95 s':>8} {'p99 s':>8} {'max s':>8}"]
    for kind, row in found["seconds_by_kind"].items():
        values = " ".join(f"{row[name]:8.3f}" for name in ("p50", "p95", "p99", "max"))
        rows.append(f"{kind:12} {row['count']:7} {values}")
    quarters = ", ".join(str(value) for value in found["memory_mib"])
    rows += [
        f"{found['requests']} requests of {found['users']} users in {found['seconds']:.0f} s, "
        f"{found['without_answer']} without an answer, {found['busy']} told to come back",
        f"{found['labels_saved']} labels saved, {found['conflicts']} refused because of another "
        f"one; {found['trainings']} trainings, {found['versions']} versions answered",
        f"memory in MiB, by quarters of the time: {quarters or 'too short'}",
        *found["problems"][:SHOWN],
        f"{len(found['problems'])} problems",
    ]
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    chosen = parse_arguments(arguments)
    with tempfile.TemporaryDirectory(prefix="samed2d-soak-", ignore_cleanup_errors=True) as folder:
        found = soak(chosen, Path(folder))
    if found["growth_mib"] > chosen.growth:
        found["problems"].append(f"the server's memory grew by {found['growth_mib']} MiB")
    if found["without_answer"]:
        found["problems"].append(f"{found['without_answer']} requests had no answer")
    print(report(found))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=1))
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())

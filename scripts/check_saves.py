#!/usr/bin/env python3
"""Kill the server, fill its disk, take its PACS away, again and again: no saved label may be lost.

Users click and save at a server of their own while things happen at random moments: the server and
all it started end with SIGKILL and it is started again; the training alone ends so; the disk is
full for a while; the PACS, if there is one, is away for a while. After each event, with nobody at
work, what the server hands out is compared voxel by voxel with what was saved: of each image the
label of the last acknowledged save stands, or that of a later one whose answer got lost. Trainings
and the scoring of slices go on meanwhile. After each event the server must answer a click, and
every version that was published, the one that serves among them, is loaded as a server does it.
One training goes on undisturbed before, and shows how long after its begin others are to be ended.

The small disk is a file system in memory of Linux (unshare). Where the system does not allow one,
there are no events of a full disk, and the last line says so.

With --pacs the server uses that PACS, through a gate that can be closed. It must hold images, and
gets the labels as DICOM SEG: take one for tests.

With --diary each event is written to a file when all was looked at. A run that was ended goes on
with the events that are missing; at the end the events of all runs of the file are told.

Examples:
    python scripts/check_saves.py --events 200
    python scripts/check_saves.py --events 200 --diary events.jsonl
    python scripts/check_saves.py --events 200 --pacs http://127.0.0.1:8042/dicom-web

Exit codes: 0 nothing was lost, 1 something was, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts._load.diary import Diary, summary
from scripts._load.small_disk import INSIDE, is_possible, run_inside

SHOWN = 20
"""So many problems are printed."""


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
    parser.add_argument("--no-training", action="store_true", help="none in the background")
    parser.add_argument("--pacs", metavar="URL", help="DICOMweb address of a PACS for tests")
    parser.add_argument("--diary", type=Path, metavar="FILE", help="write down events; go on")
    parser.add_argument("--log", type=Path, metavar="FILE", help="keep the server's log there")
    return parser.parse_args(arguments)


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
        from scripts._load.storm import Storm, Weather  # with torch: not while another one works

        log = Path(folder, "server.log")
        trains = not chosen.no_training
        weather = Weather(chosen.users, chosen.cases, chosen.seed, chosen.pacs, trains)
        diary = Diary(chosen.diary)
        storm = Storm(
            weather, disk if inner is None else Path(inner), inner is not None, log, diary
        )
        try:
            storm.rage(chosen.events, chosen.minutes)
        finally:
            if chosen.log is not None and log.is_file():
                chosen.log.write_bytes(log.read_bytes())
    print(summary(diary.events))
    if inner is None:
        print("No small disk can be made here: no event was a full disk.")
    print(*diary.problems[:SHOWN], f"{len(diary.problems)} problems", sep="\n")
    return 1 if diary.problems else 0


if __name__ == "__main__":
    sys.exit(main())

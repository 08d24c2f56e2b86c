#!/usr/bin/env python3
"""Look for flaws in a data set in the format of SA-Med2D-20M, built here or downloaded.

DIR holds images/ and masks/; SAMed2D_v1.json, the mapping of classes and the lists of a split are
read where they are there. --kinds says what is looked for. Nothing in DIR is changed.

Writes every finding into a JSON file: {"images", "masks", "counts": {kind: number},
"findings": [{"kind", "file", "detail"}]}.
Exit codes: 0 good, 1 flaws were found, 2 wrong arguments, 3 could not be checked, 130 interrupted.

Examples:
  check_dataset.py dataset
  check_dataset.py SAMed2Dv1 --workers 16 --out flaws.json
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from lib.data.check.check import check_folder
from lib.data.check.findings import KINDS, NOTES
from scripts._command import exit_code_of, positive, progress_on

GOOD, FLAWS, FAILED = 0, 1, 3


class ShowKinds(argparse.Action):
    """Prints what is looked for, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Called by argparse."""
        for kind, meaning in KINDS.items():
            print(f"{kind:16} {meaning}{' (a note, no flaw)' if kind in NOTES else ''}")
        parser.exit()


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="see above")
    add("--out", type=Path, metavar="FILE", help="default: findings.json in the current folder")
    add("--workers", type=positive, default=1, metavar="N", help="processes; default: 1")
    add("--kinds", action=ShowKinds, nargs=0, help="show what is looked for, and end")
    add("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(arguments)


def carry_out(options: argparse.Namespace) -> int:
    with tqdm(unit="image", disable=options.quiet) as bar:
        report = check_folder(options.folder, options.workers, progress_on(bar))
    content = {
        "images": report.images,
        "masks": report.masks,
        "counts": report.counts,
        "findings": [asdict(finding) for finding in report.findings],
    }
    out = options.out or Path("findings.json")
    out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{report.images} images, {report.masks} masks")
    for kind, count in report.counts.items():
        print(f"{count:8} {kind}: {KINDS[kind]}{' (no flaw)' if kind in NOTES else ''}")
    return GOOD if report.is_good else FLAWS


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    return exit_code_of(lambda: carry_out(options), "check_dataset", failed=FAILED)


if __name__ == "__main__":
    sys.exit(main())

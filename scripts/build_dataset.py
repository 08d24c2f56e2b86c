#!/usr/bin/env python3
"""Build a data set in the format of SA-Med2D-20M from archives of labelled images.

--in is a YAML file that says what lies where; docs/how-to/build-a-dataset.md explains it:

  sources:
    - dataset: MyCT                        # in the names of files
      kind: volume                         # volume, dicom, picture, npz or dicomweb
      modality: ct_00                      # as in SA-Med2D-20M
      root: /data/ct                       # or beside the YAML file
      images: "{case}_image.nii.gz"
      labels: "{case}_label.nii.gz"        # {label} in it: one file for each class
      classes: {1: liver, 2: spleen, 3: null}

The same command goes on after a kill and builds again only what has changed. A file that cannot
be used costs only its case, and is named in the end. Names of cases and patients are hashes with
a secret, which lies beside the YAML file; folder .build in --out is for you alone.

Exit codes: 0 done, 1 failed or some cases failed, 2 wrong arguments, 130 interrupted.

Examples:
  build_dataset.py --in archive.yaml --out dataset
  build_dataset.py --in archive.yaml --out dataset --workers 8 --split image
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from lib.data.builder.build import Built, build, read_salt
from lib.data.builder.case_builder import Outcome
from lib.data.builder.case_task import CaseTask
from lib.data.builder.description import parse_description
from lib.data.builder.engine import run_local, run_ray
from lib.data.builder.outputs import SPLITS, SplitRule
from scripts._command import DONE, FAILED, exit_code_of, positive

LEAKS = (
    "build_dataset: warning: split by image puts slices of one patient on both sides; results on "
    "the test side will look better than they are"
)


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text}: from 0 to below 1")
    return value


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--in", dest="sources", type=Path, required=True, metavar="YAML", help="see above")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the data set")
    add("--engine", choices=("local", "ray"), default="local", help="default: %(default)s")
    add("--workers", type=positive, default=1, metavar="N", help="cases at a time; default: 1")
    add("--ray-address", metavar="HOST:PORT", help="of a Ray cluster; default: RAY_ADDRESS")
    add("--split", choices=SPLITS, default="patient", help="default: %(default)s")
    add("--test-share", type=share, default=0.2, metavar="X", help="default: %(default)s")
    add("--seed", type=int, default=0, metavar="N", help="of the split; default: %(default)s")
    add("--salt-file", type=Path, metavar="FILE", help="default: YAML with .salt at its end")
    add("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> Built:
    sources = parse_description(options.sources)
    salt_file = options.salt_file or options.sources.with_name(f"{options.sources.name}.salt")

    def engine(tasks: Sequence[CaseTask], out: Path) -> Iterator[Outcome]:
        if options.engine == "ray":
            return run_ray(tasks, out, options.workers, options.ray_address)
        return run_local(tasks, out, options.workers)

    with tqdm(unit="case", disable=options.quiet) as bar:
        sums = {"images": 0, "masks": 0, "failed": 0}

        def progress(outcome: Outcome, total: int) -> None:
            bar.total = total
            sums["images"] += outcome.images
            sums["masks"] += outcome.masks
            sums["failed"] += bool(outcome.error)
            bar.set_postfix(sums, refresh=False)
            bar.update()

        rule = SplitRule(options.split, options.test_share, options.seed)
        return build(sources, options.out, read_salt(salt_file), rule, engine, progress)


def tell(built: Built) -> None:
    totals = built.totals
    print(
        f"{totals.cases} cases, {totals.images} images, {totals.masks} masks "
        f"({totals.train_images} images to train, {totals.test_images} to test); "
        f"{built.built} cases built, {built.found} had been before, {built.removed} removed"
    )
    for reason, count in built.skipped.items():
        print(f"left out: {count} {reason}")
    for text, count in built.warnings.items():
        print(f"build_dataset: warning: {count} cases: {text}", file=sys.stderr)
    for key, error in built.failed.items():
        print(f"build_dataset: failed: {built.names[key]} ({key}): {error}", file=sys.stderr)


def carry_out(options: argparse.Namespace) -> int:
    built = run(options)
    tell(built)
    return FAILED if built.failed else DONE


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    if options.split == "image":
        print(LEAKS, file=sys.stderr)
    goes_on = "interrupted; the same command goes on"
    return exit_code_of(lambda: carry_out(options), "build_dataset", goes_on)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Measure what each part of the compact network and of its pretraining is worth.

Trains from random numbers once for each variant and seed, with the same number of steps, and judges
on phantoms and on patients it did not learn from. Prints a table as Markdown.

Example:
    python scripts/ablate_pretraining.py --data cases --steps 200 --out runs/ablation

Interrupt it at any time: what was measured is in <out>/found.json, and the same command goes on.
Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from lib.data.pool import read_folder, split_by_patient
from lib.training.pretrain_ablation import default_variants, try_variant
from scripts._ablation import read_found, table_of, write_found
from scripts._command import DONE, exit_code_of, positive
from scripts.pretrain import phantom_cases

PHANTOMS, REAL = "phantoms", "real images"
NAMES = tuple(default_variants(1, 1, 0))


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, action="append", required=True, metavar="DIR", help="labelled images")
    add("--steps", type=positive, default=200, help="of each training (default %(default)s)")
    add("--batch-size", type=positive, default=8, help="images in a step (default %(default)s)")
    add("--seeds", type=positive, default=1, help="trainings of each variant (default %(default)s)")
    add("--held-out", type=float, default=0.4, help="share of the patients (default %(default)s)")
    add("--phantoms", type=positive, default=48, help="to judge by (default %(default)s)")
    add("--only", default="", help="variants, separated by semicolons: " + "; ".join(NAMES))
    add("--out", type=Path, required=True, help="folder for runs and figures")
    options = parser.parse_args(arguments)
    options.only = tuple(filter(None, map(str.strip, options.only.split(";")))) or NAMES
    if unknown := sorted(set(options.only) - set(NAMES)):
        parser.error(f"--only {unknown[0]!r}: {'; '.join(NAMES)}")
    return options


def ablate(options: argparse.Namespace) -> int:
    """Train and judge what was not measured before, then print the table."""
    images = [image for folder in options.data for image in read_folder(folder)]
    training, held_out = split_by_patient(images, options.held_out)
    tests = {REAL: held_out, PHANTOMS: phantom_cases(options.phantoms, seed=1)}
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "found.json"
    found = read_found(path)
    for seed in range(options.seeds):
        every = default_variants(options.steps, options.batch_size, seed)
        for name in options.only:
            key = f"{name} / {options.steps} / {seed}"
            if key in found:
                continue
            place = options.out / key.replace(" / ", "-").replace(" ", "_")
            with tqdm(total=options.steps, desc=name, unit="step", dynamic_ncols=True) as bar:
                summaries = try_variant(
                    every[name],
                    training,
                    tests,
                    place,
                    lambda step, bar=bar: bar.update(step - bar.n),
                )
            found[key] = {test: dict(summary.dice) for test, summary in summaries.items()}
            write_found(path, found)
    for test in tests:
        groups = {
            name: [
                figures[test]
                for key, figures in found.items()
                if key.startswith(f"{name} / {options.steps} / ")
            ]
            for name in options.only
        }
        print(f"\n{test}\n\n{table_of(groups)}")
    return DONE


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    options = parse_arguments(arguments)
    return exit_code_of(
        lambda: ablate(options), "ablate_pretraining", "interrupted; the same command goes on"
    )


if __name__ == "__main__":
    sys.exit(main())

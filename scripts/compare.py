#!/usr/bin/env python3
"""Compare served models on labelled volumes: Dice by prompts, time for each prompt, memory.

A simulated user clicks on the innermost pixel of the object on the slice that halves it, then, on
the slice with the most wrong pixels, on the innermost pixel of its largest error; the same for all
models, nothing is random. A model that answers slice by slice (samed2d, medsa) is asked about the
clicked slice alone, and what it said of other slices stays; the others answer the whole volume.

DIR holds pairs NAME_image.nii.gz / NAME_label.nii.gz, or a table cases.csv (image,label[,case,
value,name]). Each model runs in a process of its own. --out is written after each object: the same
command goes on after a kill. Prints Markdown.

Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.

Examples:
  compare.py --data cases --out compare.json > models.md
  compare.py --data cases --models samed2d_volume,sammed3d --objects 3 --prompts 5 --out c.json
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.options import AppOptions, parse_options
from scripts._command import DONE, exit_code_of, positive
from scripts._compare.measure import MODELS, Comparison, current, measure
from scripts._compare.rows import markdown


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    every = ",".join(sorted(path.stem for path in MODELS.glob("*.toml")))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="labelled volumes")
    parser.add_argument(
        "--models", default=every, help="separated by commas (default: %(default)s)"
    )
    parser.add_argument("--prompts", type=positive, default=10, help="default: %(default)s")
    parser.add_argument(
        "--objects", type=positive, default=8, help="of each volume, the largest (default: 8)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="JSON of all results"
    )
    parser.add_argument(
        "--conf",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="an option of the server",
    )
    return parser.parse_args(arguments)


def comparison_of(options: argparse.Namespace) -> Comparison:
    chosen = {"encode_ahead": "off", "embedding_disk_mb": "0", **dict(options.conf)}
    served: AppOptions = parse_options({**chosen, "models": options.models})
    return Comparison(
        options.data, served.models, options.prompts, options.objects, served, options.out
    )


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING)
    return exit_code_of(
        lambda: compare(options), "compare", "interrupted; the same command goes on"
    )


def compare(options: argparse.Namespace) -> int:
    comparison = comparison_of(options)
    for model in comparison.models:
        run_apart(comparison, model)
    print(markdown(current(comparison)), end="")
    return DONE


def run_apart(comparison: Comparison, model: str) -> None:
    """Measure a model in a new process.

    Raises:
        OptionError: it cannot be served.
        ChildProcessError: the process ended with an error, which it has said.
    """
    comparison.served(model)
    child = multiprocessing.get_context("spawn").Process(target=measure, args=(comparison, model))
    child.start()
    child.join()
    if child.exitcode:
        raise ChildProcessError(f"measuring {model} ended with status {child.exitcode}")


if __name__ == "__main__":
    sys.exit(main())

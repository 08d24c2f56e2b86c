#!/usr/bin/env python3
"""Play an annotator with ground truth, and compare what different next samples are worth.

For each strategy and seed a real server is started with the unlabelled images of a folder. Round by
round: ask it for the next case, click on each object until the Dice is 0.9 or five clicks are used
up, save, and after every few cases train. After each training the serving network is judged on
every third patient, whose images the server never sees. The first case of a seed is the same for
all strategies.

Example:
    python scripts/simulate_annotation.py --data hearts --seeds 5 --out simulation

Writes <out>/<folder>.json (all points), <out>/<folder>.png (learning curves) and prints a table:
area under the learning curve, what was gained, and clicks until 95 % of the baseline's final
Dice, each with the 95 % interval over seeds. Interrupt it at any time: runs that ended are kept.
Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.data.pool import read_folder
from lib.errors import Samed2dError
from lib.learning.strategies import STRATEGIES
from lib.networks import installed_weights
from scripts._benchmark.errors import BenchmarkError
from scripts._simulation.curves import compare, draw
from scripts._simulation.run import ARCHITECTURE, Course, carry_out

PROGRAM = "simulate_annotation"


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        required=True,
        metavar="DIR",
        help="folder with labelled images of one task (see scripts/train.py); may be repeated",
    )
    parser.add_argument(
        "--strategies",
        default="random,hybrid",
        help="separated by commas, the first one is the baseline (default random,hybrid): "
        + ", ".join(STRATEGIES),
    )
    parser.add_argument("--seeds", type=int, default=5, help="runs of each (default 5)")
    parser.add_argument("--rounds", type=int, default=4, help="trainings of a run (default 4)")
    parser.add_argument("--batch", type=int, default=2, help="cases before each (default 2)")
    parser.add_argument("--steps", type=int, default=30, help="batches of each (default 30)")
    parser.add_argument(
        "--rate", type=float, default=0.0, help="peak learning rate; 0 takes the recipe's (default)"
    )
    parser.add_argument(
        "--publish",
        choices=("gate", "force"),
        default="gate",
        help="publish what passes the gate (default), or every result",
    )
    parser.add_argument("--checkpoint", type=Path, help="base weights (default: the installed)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    return parser.parse_args()


def main() -> int:
    """Run the command line."""
    arguments = parse_arguments()
    strategies = [name.strip() for name in arguments.strategies.split(",") if name.strip()]
    unknown = [name for name in strategies if name not in STRATEGIES]
    if unknown or not strategies:
        print(f"{PROGRAM}: no strategy {unknown[:1]}; see --help", file=sys.stderr)
        return 2
    checkpoint = arguments.checkpoint or installed_weights(ARCHITECTURE)
    if checkpoint is None or not checkpoint.is_file():
        print(f"{PROGRAM}: no weights; name them with --checkpoint", file=sys.stderr)
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        for folder in arguments.data:
            simulate(folder, strategies, arguments, checkpoint.resolve())
    except (Samed2dError, BenchmarkError, OSError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


def simulate(
    folder: Path, strategies: list[str], arguments: argparse.Namespace, checkpoint: Path
) -> None:
    """All runs on one folder."""
    images = read_folder(folder)
    path = arguments.out / f"{folder.name}.json"
    runs: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for seed in range(arguments.seeds):
        for strategy in strategies:
            key = f"{strategy} / {seed}"
            if key in runs:
                continue
            course = Course(
                strategy,
                seed,
                arguments.rounds,
                arguments.batch,
                arguments.steps,
                arguments.rate,
                arguments.publish,
                checkpoint,
                arguments.out / "cache",
            )
            say = partial(print, f"{folder.name}, {key}:", flush=True)
            runs[key] = carry_out(images, course, say)
            part = path.with_name(f"{path.name}.part")
            part.write_text(json.dumps(runs, indent=1))
            part.replace(path)
    curves = {
        name: [runs[f"{name} / {seed}"] for seed in range(arguments.seeds)] for name in strategies
    }
    draw(curves, folder.name, path.with_suffix(".png"))
    print("\n".join([f"\n{folder.name}", "", *compare(curves, strategies[0])]), flush=True)


if __name__ == "__main__":
    sys.exit(main())

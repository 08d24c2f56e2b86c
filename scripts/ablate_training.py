#!/usr/bin/env python3
"""Measure what each part of the training recipe is worth, or each kind of decoder adapter.

Trains on a few patients of a folder and tests on all others, once for each variant of the recipe
and each seed, with the same number of batches. Prints a table as Markdown.

Example:
    python scripts/ablate_training.py --data hearts --data nuclei --out ablation.json
    python scripts/ablate_training.py --architecture medsa_t --train only_adapters --data hearts \
        --only "no adapters in the decoder; HyP-Adpt" --seeds 3 --out medsa.json

Interrupt it at any time: what was measured is in the file and is not measured again.
Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.data.pool import read_folder
from lib.errors import Samed2dError
from lib.networks import ARCHITECTURES
from lib.training.ablation import NETWORKS, VARIANTS, Trial, build_variant, try_recipe
from lib.training.recipe import DEFAULT, PARTS
from scripts._ablation import read_found, table_of, write_found


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
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="samed2d_t")
    parser.add_argument("--checkpoint", type=Path, help="weights to start from")
    parser.add_argument("--train", choices=PARTS, default="decoder", help="what learns")
    parser.add_argument("--cases", type=int, default=5, help="patients to learn from (default 5)")
    parser.add_argument("--batches", type=int, default=150, help="of each training (default 150)")
    parser.add_argument("--batch-size", type=int, default=4, help="images in each (default 4)")
    parser.add_argument(
        "--learning-rate", type=float, help="in place of the recipe's (adapters that begin at zero)"
    )
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each kind (default 2)")
    parser.add_argument(
        "--only",
        default="",
        help="variants, separated by semicolons: "
        + "; ".join(VARIANTS)
        + "; and for networks with Med-SA's adapters: "
        + "; ".join(NETWORKS),
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file with the figures")
    return parser.parse_args()


def key_of(variant: str, folder: Path, seed: int) -> str:
    """Names one training in the file."""
    return f"{variant} / {folder.name} / {seed}"


def grouped(
    found: dict[str, Any], folders: list[Path], variants: list[str]
) -> dict[str, list[dict[str, float]]]:
    """Dice before any training and after those of each variant, over seeds and folders."""
    return {
        when: [
            entry["after" if when != "before" else "before"]
            for key, entry in found.items()
            if when == "before" or key.startswith(f"{when} / ")
            if any(f" / {folder.name} / " in key for folder in folders)
        ]
        for when in ("before", *variants)
    }


def main() -> int:
    """Run the command line."""
    arguments = parse_arguments()
    chosen = [name.strip() for name in arguments.only.split(";") if name.strip()] or list(VARIANTS)
    unknown = [name for name in chosen if name not in {**VARIANTS, **NETWORKS}]
    if unknown:
        print(f"ablate_training: no variant {unknown[0]!r}; see --help", file=sys.stderr)
        return 2
    found = read_found(arguments.out)
    try:
        for seed in range(arguments.seeds):
            for folder in arguments.data:
                images = read_folder(folder)
                for name in chosen:
                    key = key_of(name, folder, seed)
                    if key in found:
                        continue
                    started = time.monotonic()
                    model = build_variant(arguments.architecture, name, arguments.checkpoint)
                    trial = Trial(
                        arguments.train,
                        arguments.batches,
                        arguments.batch_size,
                        arguments.cases,
                        seed,
                    )
                    recipe = VARIANTS.get(name, DEFAULT)
                    rate = arguments.learning_rate or recipe.learning_rate
                    before, after = try_recipe(
                        model, images, replace(recipe, learning_rate=rate), trial
                    )
                    found[key] = {
                        "before": dict(before.dice),
                        "after": dict(after.dice),
                        "targets": after.n_targets,
                        "seconds": round(time.monotonic() - started, 1),
                    }
                    write_found(arguments.out, found)
                    print(key, {k: round(v, 3) for k, v in after.dice.items()}, flush=True)
    except Samed2dError as error:
        print(f"ablate_training: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; start it again to go on", file=sys.stderr)
        return 130
    print(table_of(grouped(found, arguments.data, chosen)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

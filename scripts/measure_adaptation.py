#!/usr/bin/env python3
"""Measure what a few labelled cases bring: train on some patients, test on all others.

Example:
    python scripts/measure_adaptation.py --data hearts --data nuclei --cases 5 --out adaptation

Writes <out>.json and <out>.png (Dice after one click against processor time). Interrupt it at any
time: what was measured is in the file and is not measured again.
Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib.data.pool import read_folder
from lib.errors import Samed2dError
from lib.networks import ARCHITECTURES, build_model
from lib.training.ablation import Trial, try_recipe
from lib.training.recipe import PARTS, RECIPES
from lib.training.validation import Summary

USUAL = ("adapters", "decoder")
PROMPTS = ("box", "1", "3", "5")


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
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="default")
    parser.add_argument(
        "--train", choices=PARTS, action="append", help="default: adapters and decoder in turn"
    )
    parser.add_argument("--cases", type=int, default=5, help="patients to learn from (default 5)")
    parser.add_argument("--batches", type=int, default=200, help="of each training (default 200)")
    parser.add_argument("--every", type=int, default=50, help="batches between two measurements")
    parser.add_argument("--batch-size", type=int, default=4, help="images in each (default 4)")
    parser.add_argument("--seeds", type=int, default=3, help="choices of patients (default 3)")
    parser.add_argument("--out", type=Path, required=True, help="files to write, without suffix")
    return parser.parse_args()


def measure(arguments: argparse.Namespace, folder: Path, part: str, seed: int) -> list[Any]:
    """Figures of one training: rows of batches, processor seconds and Dice by prompt."""
    rows: list[Any] = []

    def show(step: int, seconds: float, summary: Summary) -> None:
        rows.append({"batches": step, "seconds": round(seconds, 1), "dice": dict(summary.dice)})
        dice = " ".join(f"{name} {summary.dice[name]:.3f}" for name in PROMPTS)
        print(
            f"{folder.name}, {part}, seed {seed}, {step} batches, {seconds:.0f} s: {dice}",
            flush=True,
        )

    model = build_model(arguments.architecture, arguments.checkpoint)
    trial = Trial(part, arguments.batches, arguments.batch_size, arguments.cases, seed)  # type: ignore[arg-type]
    recipe = RECIPES[arguments.recipe]
    try_recipe(model, read_folder(folder), recipe, trial, arguments.every, show)
    return rows


def draw(found: dict[str, Any], path: Path) -> None:
    """Dice after one click against processor time, one curve for each task and part."""
    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    groups: dict[str, list[Any]] = {}
    for key, rows in found.items():
        groups.setdefault(key.rsplit(" / ", 1)[0], []).append(rows)
    for number, (name, runs) in enumerate(sorted(groups.items())):
        seconds = np.mean([[row["seconds"] for row in rows] for rows in runs], axis=0)
        dice = np.array([[row["dice"]["1"] for row in rows] for rows in runs])
        axes.plot(seconds, dice.mean(axis=0), marker="os^D"[number % 4], label=name)
        axes.fill_between(seconds, dice.min(axis=0), dice.max(axis=0), alpha=0.15)
    axes.set_xlabel("processor time of encoding and training, s")
    axes.set_ylabel("Dice after one click")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


def table(found: dict[str, Any]) -> str:
    """Markdown: before and after, means over seeds."""
    lines = ["| task | seeds | s | " + " | ".join(f"Dice {name}" for name in PROMPTS) + " |"]
    lines.append("|---" * (3 + len(PROMPTS)) + "|")
    groups: dict[str, list[Any]] = {}
    for key, rows in found.items():
        groups.setdefault(key.rsplit(" / ", 1)[0], []).append(rows)
    for name, runs in sorted(groups.items()):
        seconds = np.mean([rows[-1]["seconds"] for rows in runs])
        cells = []
        for prompt in PROMPTS:
            first, last = (np.mean([rows[n]["dice"][prompt] for rows in runs]) for n in (0, -1))
            cells.append(f"{first:.3f} → {last:.3f}")
        lines.append(f"| {name} | {len(runs)} | {seconds:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run the command line."""
    arguments = parse_arguments()
    path = arguments.out.with_suffix(".json")
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    try:
        for seed in range(arguments.seeds):
            for folder in arguments.data:
                for part in arguments.train or USUAL:
                    key = f"{folder.name}, {part} / {seed}"
                    if key not in found:
                        found[key] = measure(arguments, folder, part, seed)
                        beside = path.with_name(path.name + ".part")
                        beside.write_text(json.dumps(found, indent=1))
                        beside.replace(path)
    except Samed2dError as error:
        print(f"measure_adaptation: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; start it again to go on", file=sys.stderr)
        return 130
    draw(found, arguments.out.with_suffix(".png"))
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

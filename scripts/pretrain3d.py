#!/usr/bin/env python3
"""Train a network for volumes from random numbers, on synthetic and labelled volumes, in stages.

The stages stand in a file, see lib/training/stages3d.py; the one that made the shipped weights is
apps/samed2d/weights/sammed3d_t.pretrain.toml. Writes <out>/<architecture>.safetensors, and for
each stage <out>/<stage>/ with resume.pt and log.jsonl. Ctrl-C interrupts, --resume goes on.

Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from lib.data.phantoms3d import make_phantom3d
from lib.data.windows3d import (
    LabelledVolume,
    Window3d,
    read_volumes,
    windows_round,
)
from lib.imaging.cube import standardised
from lib.networks.enlarge3d import enlarged
from lib.networks.sam3d import Sam3d, build_sam3d
from lib.training.pretrain3d import Pretrainer3d
from lib.training.stages3d import Stage3d, Training3d, read_training
from lib.training.validate3d import click_dice3d
from scripts._command import DONE, exit_code_of
from scripts._run_report import Reporter

CLICKS = 5
"""So many clicks each held-out object gets when a run measures itself."""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, help="file of the stages")
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="NIfTI pairs *_image/*_label.nii.gz or cases.csv, see evaluate_volume.py; may be "
        "repeated. Without it phantoms alone",
    )
    parser.add_argument(
        "--held-out", type=Path, metavar="DIR", help="such a folder that is only measured"
    )
    parser.add_argument(
        "--held-out-phantoms", type=int, default=6, help="measured too (default %(default)s)"
    )
    parser.add_argument("--minutes", type=float, help="of all stages instead of the file's")
    parser.add_argument("--resume", action="store_true", help="go on where it was interrupted")
    parser.add_argument(
        "--save-every", type=float, default=5.0, help="minutes between saves (default 5)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    return parser.parse_args(arguments)


def held_out(options: argparse.Namespace, size: int) -> dict[str, list[Window3d]]:
    """What a stage is measured on: windows of volumes, and phantoms never drawn in training."""
    volumes = read_volumes(options.held_out) if options.held_out else []
    phantoms = []
    for number in range(options.held_out_phantoms):
        phantom = make_phantom3d(np.random.default_rng([999_999, number]), size, most=2)
        phantoms.append(Window3d(standardised(phantom.values), phantom.masks))
    real = [window for volume in volumes for _, window in windows_round(volume, size)]
    return {"real_dice": real, "phantom_dice": phantoms}


def run_stage(
    stage: Stage3d, model: Sam3d, volumes: Sequence[LabelledVolume], options: argparse.Namespace
) -> Sam3d:
    """Train a network for cubes of the stage's size; the moving average of its weights.

    Raises:
        Samed2dError: the loss is no longer a number.
    """
    out: Path = options.out / stage.name
    run = Pretrainer3d(model, volumes, stage.plan, out)
    if options.resume and run.resume():
        print(f"stage {stage.name}: resumed at step {run.step}", flush=True)
    measured = held_out(options, stage.size)

    def measure(run: Pretrainer3d) -> dict[str, Sequence[float]]:
        curves = {
            name: click_dice3d(run.averaged_model, windows, CLICKS)
            for name, windows in measured.items()
        }
        return {name: dice.mean(axis=0).tolist() for name, dice in curves.items() if len(dice)}

    reporter = Reporter[Pretrainer3d](out, 60 * options.save_every, measure, "cubes")
    if run.passed < 1.0:
        try:
            run.run(reporter)
        except KeyboardInterrupt:
            run.save()
            raise
        reporter.save(run)
    return run.averaged_model


def train(training: Training3d, options: argparse.Namespace) -> int:
    """All stages, one after the other."""
    volumes = [volume for folder in options.data for volume in read_volumes(folder)]
    print(f"{len(volumes)} volumes with {sum(len(v.names) for v in volumes)} objects", flush=True)
    torch.manual_seed(training.stages[0].plan.seed)
    first = training.stages[0].size
    model = build_sam3d(replace(training.architecture, image_size=first))
    for stage in training.stages:
        if stage.size != model.config.image_size:
            model = enlarged(model, stage.size)
        model = run_stage(stage, model, volumes, options)
    name = f"{training.architecture.name}.safetensors"
    shutil.copyfile(options.out / training.stages[-1].name / name, options.out / name)
    return DONE


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    options = parse_arguments(arguments)
    return exit_code_of(
        lambda: train(read_training(options.config, options.minutes), options),
        "pretrain3d",
        "interrupted; what was learned is saved, go on with --resume",
    )


if __name__ == "__main__":
    sys.exit(main())

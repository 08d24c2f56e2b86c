#!/usr/bin/env python3
"""Train a network from scratch on synthetic phantoms and, where given, on labelled images.

Example:
    python scripts/pretrain.py --minutes 60 --data my_images --out runs/samed2d_t
    python scripts/pretrain.py --config run.toml --out runs/mine
    python scripts/pretrain.py --data https://host/shards --real-share 0.8 --out runs/streamed

A --config is a TOML file whose keys are the options below without their dashes (learning_rate =
8e-4). What the command line says too is taken from there; folders of --data add up. Tables named
[[stage]] in it are parts of the run, one after the other, each with a name and with settings of its
own for what it learns from and how.

Writes <out>/<architecture>.safetensors (moving average of the weights, float16), resume.pt and
log.jsonl; the last two and the weights of each stage in <out>/<stage> where there are stages.
Interrupt it at any time and start it again with --resume.
Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted (the state is saved).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch.multiprocessing.spawn import ProcessExitedException, spawn

from lib.data.phantoms import make_phantom
from lib.data.pool import LabelledImage, read_folder, split_by_patient
from lib.data.shards.opening import is_data_set, open_data_set
from lib.data.shards.stream import Source, stream
from lib.data.stream import Mixture
from lib.errors import OptionError
from lib.networks import ARCHITECTURES, build_sam, load_checkpoint
from lib.networks.sam import AdapterSam
from lib.training.pretrain import Pretrainer, PretrainPlan
from lib.training.processes import Place, free_address, join
from lib.training.validate import click_dice
from scripts._command import DONE, exit_code_of
from scripts._pretrain_options import parse_options
from scripts._run_report import Reporter


@dataclass(frozen=True)
class Material:
    """What a run learns from and what it is only measured on.

    Attributes:
        training: images to learn from.
        data_set: to learn from as a stream, or None.
        held_out: images that are only measured.
        phantoms: which are only measured, the same in all stages.
    """

    training: list[LabelledImage]
    data_set: Source | None
    held_out: list[LabelledImage]
    phantoms: list[LabelledImage]

    def summary(self) -> str:
        """How much there is of everything real."""
        count = f"{len(self.training)} real images"
        if self.data_set is not None:
            count += f" and a stream of {self.data_set.total()}"
        return f"{count} to train on, {len(self.held_out)} held out"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line and the file it names, see `scripts._pretrain_options`."""
    return parse_options(__doc__, sys.argv[1:] if arguments is None else arguments)


def phantom_cases(count: int, seed: int) -> list[LabelledImage]:
    """Phantoms for validation, never drawn in training (another seed)."""
    rng = np.random.default_rng([seed, 999_999])
    cases = []
    for index in range(count):
        phantom = make_phantom(rng)
        cases.append(
            LabelledImage(f"phantom{index}", "phantom", phantom.image, phantom.masks, phantom.names)
        )
    return cases


def read_material(arguments: argparse.Namespace) -> Material:
    """Read the places of --data and --validation-data, draw what else is measured.

    Raises:
        OptionError: more than one data set to stream.
        ImageError, UnavailableError: nothing usable in one of the places.
    """
    streamed = [place for place in arguments.data if is_data_set(place)]
    if len(streamed) > 1:
        raise OptionError(
            got=f"--data with {len(streamed)} data sets to stream",
            allowed="one",
            todo="build or pack them as one",
        )
    folders = [Path(place) for place in arguments.data if place not in streamed]
    images = [image for folder in folders for image in read_folder(folder)]
    training, validation = split_by_patient(images, arguments.validation_share)
    data_set = open_data_set(streamed[0]) if streamed else None
    if arguments.validation_data:
        # Another seed: what is measured is not how training began.
        measured = stream(
            open_data_set(arguments.validation_data, "test"), arguments.seed + 999_999
        )
        validation += [image for image, _ in islice(measured, arguments.validation_images)]
    phantoms = phantom_cases(arguments.validation_phantoms, arguments.seed)
    return Material(training, data_set, validation, phantoms)


def reporter_of(out: Path, save_every: float, material: Material) -> Reporter[Pretrainer]:
    """Measures with up to three clicks on phantoms and on held-out images.

    Args:
        out: folder of the run.
        save_every: minutes.
        material: what is measured.
    """

    def measure(run: Pretrainer) -> dict[str, Sequence[float]]:
        return {
            "phantom_dice": click_dice(run.averaged_model, material.phantoms),
            "real_dice": click_dice(run.averaged_model, material.held_out),
        }

    return Reporter(out, 60 * save_every, measure)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line."""
    arguments = parse_arguments(words)
    if arguments.processes == 1:
        return pretrain(arguments, Place())
    try:
        spawn(one_of_several, args=(arguments, free_address()), nprocs=arguments.processes)
    except ProcessExitedException as error:
        return int(error.exit_code)
    return 0


def one_of_several(rank: int, arguments: argparse.Namespace, address: str) -> None:
    """One process of a run."""
    place = Place(rank, arguments.processes, rank)
    with join(place, address):
        code = pretrain(arguments, place)
    if code:
        sys.exit(code)


def pretrain(arguments: argparse.Namespace, place: Place) -> int:
    """Run, alone or as one process among others; the exit code."""
    return exit_code_of(
        lambda: run_stages(arguments, place),
        "pretrain",
        "interrupted; the state is saved, go on with --resume",
    )


def run_stages(arguments: argparse.Namespace, place: Place) -> int:
    """All stages, each with what the one before it has learned.

    Raises:
        Samed2dError: nothing usable to learn from, or a loss that is no number.
    """
    torch.manual_seed(arguments.stages[0].seed)
    material = read_material(arguments)
    say(place, material.summary())
    model = build_sam(ARCHITECTURES[arguments.architecture])
    if arguments.start_from is not None:
        say(place, load_checkpoint(model, arguments.start_from).summary())
    for stage in arguments.stages:
        model = run_stage(stage, arguments.out / stage.name, model, material, place)
    if arguments.stages[-1].name and place.rank == 0:
        file = f"{arguments.architecture}.safetensors"
        shutil.copyfile(arguments.out / arguments.stages[-1].name / file, arguments.out / file)
    return DONE


def run_stage(
    options: argparse.Namespace, out: Path, model: AdapterSam, material: Material, place: Place
) -> AdapterSam:
    """One stage; the moving average of what it has learned.

    Raises:
        Samed2dError: a loss that is no number.
    """
    run = Pretrainer(model, material.training, plan_of(options), out, place, material.data_set)
    named = f"stage {options.name}: " if options.name else ""
    if options.resume and run.resume():
        say(place, f"{named}resumed at step {run.step}")
    elif named:
        say(place, f"{named}begins")
    if run.passed >= 1.0:
        return run.averaged_model
    reporter = reporter_of(out, options.save_every, material) if place.rank == 0 else None
    try:
        run.run(reporter or (lambda run, result: None))
    except KeyboardInterrupt:
        if reporter is not None:
            run.save()
        raise
    if reporter is not None:
        reporter.save(run)
    return run.averaged_model


def say(place: Place, words: str) -> None:
    """Print a line, once for all processes."""
    if place.rank == 0:
        print(words, flush=True)


def plan_of(options: argparse.Namespace) -> PretrainPlan:
    """The options of a stage as the plan of its run."""
    mixture = Mixture(
        real_share=options.real_share, region_share=options.region_share, kinds=options.kinds
    )
    finish = replace(
        mixture,
        real_share=options.finish_real_share,
        region_share=options.finish_region_share,
        kinds=options.kinds if options.finish_kinds is None else options.finish_kinds,
    )
    return PretrainPlan(
        minutes=options.minutes,
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        optimiser=options.optimiser,
        ema=options.ema,
        threads=options.threads,
        seed=options.seed,
        bf16=not options.fp32,
        mixture=mixture,
        finish=finish if options.finish_share else None,
        finish_share=options.finish_share,
        learns=options.learns,
    )


if __name__ == "__main__":
    sys.exit(main())

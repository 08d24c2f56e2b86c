#!/usr/bin/env python3
"""Train a network from scratch on synthetic phantoms and, where given, on labelled images.

Example:
    python scripts/pretrain.py --minutes 60 --data my_images --out runs/samed2d_t
    python scripts/pretrain.py --config run.toml --out runs/mine
    python scripts/pretrain.py --data https://host/shards --real-share 0.8 --out runs/streamed

A --config is a TOML file whose keys are the options below without their dashes (learning_rate =
8e-4). What the command line says too is taken from there; folders of --data add up.

Writes <out>/<architecture>.safetensors (moving average of the weights, float16), resume.pt and
log.jsonl. Interrupt it at any time and start it again with --resume.
Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted (the state is saved).
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch.multiprocessing.spawn import ProcessExitedException, spawn

from lib.data.phantoms import PHANTOM_KINDS, make_phantom
from lib.data.pool import LabelledImage, read_folder, split_by_patient
from lib.data.shards.opening import is_data_set, open_data_set
from lib.data.shards.stream import Source, stream
from lib.data.stream import Mixture
from lib.errors import OptionError, Samed2dError
from lib.networks import ARCHITECTURES, build_sam
from lib.training.pretrain import Pretrainer, PretrainPlan
from lib.training.processes import Place, free_address, join
from lib.training.validate import click_dice
from scripts._run_report import Reporter


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, and the file it names."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.config is None:
        return options
    try:
        settings = tomllib.loads(options.config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        parser.error(f"{options.config}: {error}")
    allowed = sorted(set(vars(options)) - {"config", "resume"})
    if unknown := sorted(set(settings) - set(allowed)):
        parser.error(f"{options.config}: {', '.join(unknown)}; allowed are {', '.join(allowed)}")
    # In front of the others and as words, so that they are checked like those, which win.
    words = [word for key, value in settings.items() for word in words_of(key, value)]
    return parser.parse_args([*words, *(sys.argv[1:] if arguments is None else arguments)])


def words_of(key: str, value: object) -> list[str]:
    """A setting of a file as words of a command line."""
    option = "--" + key.replace("_", "-")
    if isinstance(value, bool):
        return [option] * value
    values = value if isinstance(value, list) else [value]
    return [word for each in values for word in (option, str(each))]


def kinds(text: str) -> tuple[str, ...]:
    """Kinds of phantoms, separated by commas."""
    words = tuple(filter(None, text.split(",")))
    if unknown := sorted(set(words) - set(PHANTOM_KINDS)):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: no kind of phantoms")
    return words


def make_parser() -> argparse.ArgumentParser:
    """All options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = PretrainPlan()
    parser.add_argument("--config", type=Path, help="file of options, see above")
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="samed2d_t")
    parser.add_argument("--minutes", type=float, default=defaults.minutes, help="length of the run")
    parser.add_argument(
        "--steps",
        type=int,
        default=defaults.steps,
        help="length of the run in steps instead, which another machine repeats",
    )
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="PLACE",
        help="folder with .npz cases or NIfTI pairs *_image/*_label.nii.gz; may be repeated. One "
        "may be a data set that is read as a stream: a folder as build_dataset.py makes it, or the "
        "folder or http(s) address of shards",
    )
    parser.add_argument(
        "--validation-data",
        metavar="PLACE",
        help="such a data set, some of whose images are only measured; of a folder of PNG files "
        "those of its side for tests",
    )
    parser.add_argument(
        "--validation-images", type=int, default=48, help="of it (default %(default)s)"
    )
    parser.add_argument(
        "--validation-share", type=float, default=0.15, help="patients held out (default 0.15)"
    )
    parser.add_argument(
        "--validation-phantoms", type=int, default=48, help="measured too (default 48)"
    )
    parser.add_argument(
        "--real-share",
        type=float,
        default=Mixture().real_share,
        help="how often a real image is drawn (default %(default)s)",
    )
    parser.add_argument(
        "--region-share",
        type=float,
        default=Mixture().region_share,
        help="how often segments of a real image are drawn instead of its objects "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--finish-share",
        type=float,
        default=0.0,
        help="last part of the run that has shares of its own (default: none)",
    )
    parser.add_argument("--finish-real-share", type=float, default=0.6, help="default %(default)s")
    parser.add_argument(
        "--finish-region-share", type=float, default=0.1, help="default %(default)s"
    )
    parser.add_argument(
        "--finish-kinds", type=kinds, default=None, help="as --kinds (default: the same)"
    )
    parser.add_argument(
        "--kinds",
        type=kinds,
        default=(),
        help="kinds of phantoms, separated by commas, instead of the usual mixture: "
        + ", ".join(PHANTOM_KINDS),
    )
    parser.add_argument(
        "--learns",
        choices=("all", "rating"),
        default=defaults.learns,
        help="all of the network, or only which of its masks is the best (default %(default)s)",
    )
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size)
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument(
        "--processes", type=int, default=1, help="that learn together (default %(default)s)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=defaults.threads,
        help="of each process (default %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--fp32", action="store_true", help="no bfloat16 autocast")
    parser.add_argument("--start-from", type=Path, help="weight file to start from")
    parser.add_argument("--resume", action="store_true", help="go on from <out>/resume.pt")
    parser.add_argument(
        "--save-every", type=float, default=5.0, help="minutes between saves (default 5)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    return parser


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


def read_material(
    arguments: argparse.Namespace,
) -> tuple[list[LabelledImage], Source | None, list[LabelledImage]]:
    """Images to train on, a data set to train on, and what is only measured.

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
    count = f"{len(training)} real images"
    if data_set is not None:
        count += f" and a stream of {data_set.total()}"
    print(f"{count} to train on, {len(validation)} held out", flush=True)
    return training, data_set, validation


def reporter_of(arguments: argparse.Namespace, real: list[LabelledImage]) -> Reporter[Pretrainer]:
    """Measures with up to three clicks on phantoms and on held-out images."""
    phantoms = phantom_cases(arguments.validation_phantoms, arguments.seed)

    def measure(run: Pretrainer) -> dict[str, Sequence[float]]:
        return {
            "phantom_dice": click_dice(run.averaged_model, phantoms),
            "real_dice": click_dice(run.averaged_model, real),
        }

    return Reporter(arguments.out, 60 * arguments.save_every, measure)


def main() -> int:
    """Run the command line."""
    arguments = parse_arguments()
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
    torch.manual_seed(arguments.seed)
    mixture = Mixture(
        real_share=arguments.real_share,
        region_share=arguments.region_share,
        kinds=arguments.kinds,
    )
    finish = replace(
        mixture,
        real_share=arguments.finish_real_share,
        region_share=arguments.finish_region_share,
        kinds=arguments.kinds if arguments.finish_kinds is None else arguments.finish_kinds,
    )
    plan = PretrainPlan(
        minutes=arguments.minutes,
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        threads=arguments.threads,
        seed=arguments.seed,
        bf16=not arguments.fp32,
        mixture=mixture,
        finish=finish if arguments.finish_share else None,
        finish_share=arguments.finish_share,
        learns=arguments.learns,
    )
    try:
        training, data_set, validation = read_material(arguments)
        model = build_sam(ARCHITECTURES[arguments.architecture])
        if arguments.start_from is not None:
            from lib.networks import load_checkpoint

            print(load_checkpoint(model, arguments.start_from).summary(), flush=True)
        run = Pretrainer(model, training, plan, arguments.out, place, data_set)
        if arguments.resume and run.resume():
            print(f"resumed at step {run.step}", flush=True)
        reporter = reporter_of(arguments, validation) if place.rank == 0 else None
        try:
            run.run(reporter or (lambda run, result: None))
        except KeyboardInterrupt:
            if reporter is not None:
                run.save()
            print("interrupted; the state is saved, go on with --resume", file=sys.stderr)
            return 130
        if reporter is not None:
            reporter.save(run)
    except Samed2dError as error:
        print(f"pretrain: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

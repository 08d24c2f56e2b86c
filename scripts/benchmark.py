#!/usr/bin/env python3
"""Measure how long a click or a batch of training takes, and where the time goes.

  encoder  every backend of the image encoder against the original arithmetic, in one process
  click    requests over HTTP, as viewers send them, to a server that is started for it
  volume   one click that samed2d_volume carries through a volume, over HTTP
  next     the next case to label among a thousand, over HTTP, and the scoring behind it
  phantoms synthetic training images of each kind, drawn by one core
  dataset  building a data set, reading it for training, and the memory that takes
  train    a batch of training against the original's, each in a process of its own

Examples:
  benchmark.py encoder --architecture samed2d_b --upstream ~/SAM-Med2D --json encoder.json
  benchmark.py encoder --architecture sammed3d_b --upstream ~/SAM-Med3D --rounds 3 --images 1
  benchmark.py encoder --variants torch:fp32,openvino:int8 --beside samed2d_b --rounds 5
  benchmark.py click --architecture samed2d_t --shape 512,512,300 --json click.json
  benchmark.py click --server http://host:8000 --image 1.2.840.1 --shape 512,512,90
  benchmark.py volume --image ct.nii.gz --point 160,230,40
  benchmark.py next --architecture samed2d_t --cases 1000 --json next.json
  benchmark.py phantoms --images 300 --json phantoms.json
  benchmark.py dataset --cases 4 --ray --json dataset.json
  benchmark.py train --architecture samed2d_b --upstream ~/SAM-Med2D --json train.json

Compare numbers of one run with each other, not those of two: let the machine do nothing else.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.errors import Samed2dError
from lib.networks import ARCHITECTURES, ARCHITECTURES3D
from scripts._benchmark import click, dataset, encoder, next_sample, phantoms, tables, train, volume
from scripts._benchmark.errors import BenchmarkError
from scripts._benchmark.machine import describe_machine, limit_threads, wanted_threads
from scripts._benchmark.network import NetworkSource
from scripts._benchmark.study import Shape

DONE, FAILED, WRONG_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130
VARIANTS = "torch:fp32,openvino:fp32,openvino:bf16,openvino:int8,torch:bf16"


def three_numbers(text: str) -> Shape:
    try:
        i, j, k = (int(part) for part in text.split(","))
    except ValueError:
        i = j = k = -1
    if min(i, j, k) < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: three whole numbers, such as 512,512,300")
    return i, j, k


def shape(text: str) -> Shape:
    numbers = three_numbers(text)
    if min(numbers[:2]) < 16 or numbers[2] < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: at least 16,16,1")
    return numbers


def variants(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names or any(name.count(":") != 1 for name in names):
        raise argparse.ArgumentTypeError(f"{text!r}: backend:precision, separated by commas")
    return names


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number of at least 1")
    return int(text)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--checkpoint", type=Path, help="weight file instead of the installed one")
    common.add_argument("--seed", type=int, default=0, help="of images, clicks, random weights")
    common.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.epilog = (
        "A network without installed weights gets seeded random ones: its times are right, its "
        "masks mean nothing. Exit status: 0 done, 1 failed, 2 wrong arguments, 130 interrupted."
    )
    parts = parser.add_subparsers(dest="part", required=True)
    for name, add in (
        ("encoder", add_encoder),
        ("click", add_click),
        ("volume", add_volume),
        ("next", add_next),
        ("phantoms", add_phantoms),
        ("dataset", add_dataset),
        ("train", add_train),
    ):
        about = next(line for line in str(__doc__).splitlines() if line.startswith(f"  {name} "))
        part = parts.add_parser(name, parents=[common], description=about.strip())
        add(part)
    options = parser.parse_args(arguments)
    check_arguments(parser, options)
    return options


def add_encoder(parser: argparse.ArgumentParser) -> None:
    every = sorted((*ARCHITECTURES, *ARCHITECTURES3D))
    parser.add_argument("--architecture", choices=every, default="samed2d_t")
    parser.add_argument(
        "--variants", type=variants, default=variants(VARIANTS), help=f"default: {VARIANTS}"
    )
    parser.add_argument(
        "--beside",
        choices=sorted(ARCHITECTURES),
        help="another network, whose encoder is timed in the same turns",
    )
    add_comparison(parser, "encoder", rounds=10)
    parser.add_argument("--images", type=positive, default=4, help="in each round (default: 4)")


def add_comparison(parser: argparse.ArgumentParser, part: str, rounds: int) -> None:
    parser.add_argument(
        "--upstream",
        type=Path,
        metavar="CHECKOUT",
        help="folder with the original repository (OpenGVLab/SAM-Med2D; uni-medical/SAM-Med3D "
        "for the encoder of a network of volumes), whose own "
        f"{part} becomes the baseline, with the same weights; its code is executed. Without: our "
        "own, unchanged",
    )
    parser.add_argument("--rounds", type=positive, default=rounds, help="default: %(default)s")
    parser.add_argument(
        "--threads", type=positive, help="cores to use (default: OMP_NUM_THREADS, or all)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu")


def add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="samed2d_t")
    add_comparison(parser, "network", rounds=5)
    parser.add_argument("--images", type=positive, default=2, help="in a batch (default: 2)")
    parser.add_argument("--masks", type=positive, default=5, help="of each image (default: 5)")
    parser.add_argument(
        "--precision",
        choices=("auto", "bf16", "fp32"),
        default="auto",
        help="of our side (default: what training chooses here); the original has fp32",
    )


def add_serving(parser: argparse.ArgumentParser, model: str) -> None:
    parser.add_argument(
        "--architecture", choices=sorted(ARCHITECTURES), help="default: what the server chooses"
    )
    parser.add_argument(
        "--shape", type=shape, default=(512, 512, 300), help="columns,rows,slices of the volume "
        "(default: 512,512,300)"
    )  # fmt: skip
    parser.add_argument(
        "--conf",
        nargs=2,
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="option of the server, as for start.sh; may be repeated",
    )
    parser.add_argument("--model", default=model, help="name (default: %(default)s)")
    parser.add_argument(
        "--settle", type=float, default=900.0, help="seconds to wait at most while the server "
        "prepares a faster encoder (default: 900)"
    )  # fmt: skip


def add_click(parser: argparse.ArgumentParser) -> None:
    add_serving(parser, "samed2d")
    parser.add_argument("--clicks", type=positive, default=40, help="of each kind (default: 40)")
    parser.add_argument(
        "--pause", type=float, default=0.5, help="seconds between clicks while slices are encoded "
        "ahead (default: 0.5)"
    )  # fmt: skip
    parser.add_argument("--server", help="measure this one; needs --image and its --shape")
    parser.add_argument("--image", default="", help="id in that server's datastore")


def add_volume(parser: argparse.ArgumentParser) -> None:
    add_serving(parser, "samed2d_volume")
    parser.add_argument("--image", type=Path, metavar="FILE", help="instead of a synthetic volume")
    parser.add_argument("--point", type=three_numbers, help="i,j,k of the click; needed with FILE")


def add_next(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="samed2d_t")
    parser.add_argument("--cases", type=positive, default=1000, help="default: %(default)s")
    parser.add_argument(
        "--scored", type=positive, default=40, help="of them scored by the server itself, to see "
        "how fast it is; the others get made-up scores (default: %(default)s)"
    )  # fmt: skip
    parser.add_argument(
        "--requests", type=positive, default=100, help="for each strategy (default: %(default)s)"
    )


def add_phantoms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=positive, default=300, help="of each kind (default: 300)")
    parser.add_argument("--rounds", type=positive, default=3, help="of them (default: 3)")
    parser.add_argument("--size", type=positive, default=256, help="side, pixels (default: 256)")
    parser.set_defaults(architecture=None, threads=1)


def add_dataset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="samed2d_t")
    parser.add_argument("--cases", type=positive, default=4, help="default: %(default)s")
    parser.add_argument(
        "--shape", type=shape, default=(256, 256, 160), help="of each (default: 256,256,160)"
    )
    parser.add_argument(
        "--largest", type=shape, default=(512, 512, 600), help="volume whose building is watched "
        "for its memory (default: 512,512,600)"
    )  # fmt: skip
    parser.add_argument("--ray", action="store_true", help="build on a Ray cluster of this machine")


def check_arguments(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.checkpoint is not None and options.architecture is None:
        parser.error("--checkpoint needs --architecture: the network it was made for")
    if options.part == "volume" and options.image is not None and options.point is None:
        parser.error("--image needs --point: where is the object?")
    if options.part == "click" and bool(options.server) != bool(options.image):
        parser.error("--server and --image belong together")
    if options.part == "click" and options.server and (options.architecture or options.conf):
        parser.error("--server: its network and options are its own; no --architecture, no --conf")


def network(options: argparse.Namespace) -> NetworkSource | None:
    if options.architecture is None:
        return None
    return NetworkSource.find(options.architecture, options.checkpoint, options.seed)


def say(line: str) -> None:
    print(f"benchmark: {line}", file=sys.stderr, flush=True)


def same_cores(options: argparse.Namespace) -> None:
    """Let everybody have the same ones; OpenVINO does not read the environment."""
    threads = options.threads or wanted_threads()
    if threads is not None:
        limit_threads(threads)


def run_encoder(options: argparse.Namespace, folder: Path) -> tuple[Any, list[str]]:
    same_cores(options)
    beside = options.beside and NetworkSource.find(options.beside, None, options.seed)
    plan = encoder.EncoderPlan(
        source=NetworkSource.find(options.architecture, options.checkpoint, options.seed),
        variants=options.variants,
        rounds=options.rounds,
        images=options.images,
        upstream=options.upstream,
        device=options.device,
        beside=beside,
    )
    report = encoder.run(plan, say)
    return report, tables.encoder_lines(report)


def run_click(options: argparse.Namespace, folder: Path) -> tuple[Any, list[str]]:
    plan = click.ClickPlan(
        source=network(options),
        shape=options.shape,
        clicks=options.clicks,
        conf=dict(options.conf),
        server=options.server,
        image=options.image,
        model=options.model,
        pause=options.pause,
        settle=options.settle,
        seed=options.seed,
    )
    report = click.run(plan, folder, say)
    return report, tables.click_lines(report)


def run_volume(options: argparse.Namespace, folder: Path) -> tuple[Any, list[str]]:
    plan = volume.VolumePlan(
        source=network(options),
        shape=options.shape,
        image=options.image,
        point=options.point,
        conf=dict(options.conf),
        model=options.model,
        settle=options.settle,
        seed=options.seed,
    )
    report = volume.run(plan, folder, say)
    return report, tables.volume_lines(report)


def run_next(options: argparse.Namespace, folder: Path) -> tuple[Any, list[str]]:
    plan = next_sample.NextPlan(
        source=NetworkSource.find(options.architecture, options.checkpoint, options.seed),
        cases=options.cases,
        scored=min(options.scored, options.cases),
        requests=options.requests,
        seed=options.seed,
    )
    report = next_sample.run(plan, folder, say)
    return report, tables.next_lines(report)


def run_phantoms(options: argparse.Namespace, folder: Path) -> tuple[Any, list[str]]:
    same_cores(options)
    plan = phantoms.PhantomPlan(options.images, options.rounds, options.size, options.seed)
    report = phantoms.run(plan, say)
    return report, tables.phantom_lines(report)


def run_dataset(options: argparse.Namespace, folder: Path) -> tuple[Any, list[str]]:
    plan = dataset.DatasetPlan(
        cases=options.cases,
        shape=options.shape,
        largest=options.largest,
        architecture=options.architecture,
        ray=options.ray,
        seed=options.seed,
    )
    report = dataset.run(plan, folder, say)
    return report, tables.dataset_lines(report)


def run_train(options: argparse.Namespace, folder: Path) -> tuple[Any, list[str]]:
    same_cores(options)
    plan = train.TrainPlan(
        source=NetworkSource.find(options.architecture, options.checkpoint, options.seed),
        images=options.images,
        masks=options.masks,
        rounds=options.rounds,
        precision=options.precision,
        upstream=options.upstream,
        device=options.device,
    )
    report = train.run(plan, say)
    return report, tables.train_lines(report)


RUNS = {
    "encoder": run_encoder,
    "click": run_click,
    "volume": run_volume,
    "next": run_next,
    "phantoms": run_phantoms,
    "dataset": run_dataset,
    "train": run_train,
}


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        # A request to end goes the way of Ctrl-C, so that server and files are removed.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with tempfile.TemporaryDirectory(prefix="samed2d-benchmark-") as folder:
            report, lines = RUNS[options.part](options, Path(folder))
        machine = describe_machine()
        print("\n".join([*lines, "", *tables.machine_lines(machine)]))
        if options.json is not None:
            facts = {"benchmark": options.part, "machine": asdict(machine), **asdict(report)}
            options.json.write_text(json.dumps(facts, indent=2, default=str) + "\n")
    except (BenchmarkError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return FAILED
    except Samed2dError as error:
        print(f"benchmark: {error.message}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("benchmark: interrupted; nothing is left running", file=sys.stderr)
        return INTERRUPTED
    return DONE


if __name__ == "__main__":
    sys.exit(main())

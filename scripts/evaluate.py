#!/usr/bin/env python3
"""Measure a network: how good its masks are after the exact box and after clicks.

Protocol noc: a simulated user clicks on the innermost pixel of the target, then on the innermost
pixel of the largest error, and so on; nothing is random. Beyond --prompts it clicks on until the
IoU is 0.9, at most --max-clicks times, and the clicks until 0.85 and 0.90 are counted.
Protocol paper: the prompts, images and metrics of SAM-Med2D's own test script.

DIR holds one of these; docs/reference/evaluation.md says more:
  .npz files (image (H, W[, 3]), mask (N, H, W), labels (N,)), masks taken as they are
  NIfTI pairs NAME_image.nii.gz / NAME_label.nii.gz, or equal names in imagesTr/ and labelsTr/, or
  in images/ and labels/: every slice of plausible shape, one target for each part of a label
  images/ and masks/ with pictures, as in SA-Med2D-20M

Beside the network stands what one gets without any: the ellipse inscribed in the box, and for
clicks a region grown from them. Intervals are 95 %, patients resampled.

Several --zoom or --precision are compared in the same run, target by target; further precisions are
compared with the first one on the same prompts. Times are those of answers on an image that is
encoded already; what a zoom encodes counts.

Writes metrics.json, report.html and table.md into --out, and every result at once into
progress.jsonl: the same command goes on after a kill, another setting starts anew.
Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.

Example:
  evaluate.py --data cases --zoom off,auto --out runs/zoom
  evaluate.py --data cases --backend openvino --precision fp32,bf16,int8 --out runs/precision
  evaluate.py --data SAMed2Dv1 --model samed2d_b --protocol paper --out runs/paper
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from lib.errors import Samed2dError
from lib.networks import ARCHITECTURES
from lib.networks.backends import BACKENDS
from lib.options import ZOOMS
from lib.training.evaluate import MAX_CLICKS, Plan
from scripts._evaluation.output import write_files
from scripts._evaluation.page import write_report
from scripts._evaluation.rows import Setting
from scripts._evaluation.run import PROTOCOLS, Evaluation, Request

PRECISIONS = ("fp32", "bf16", "int8")
DONE, FAILED, INTERRUPTED = 0, 1, 130
DEFAULT_ZOOM = {"noc": ("auto",), "paper": ("off",)}


def words_of(allowed: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
        if not set(words) <= set(allowed):
            raise argparse.ArgumentTypeError(f"{text!r}: {', '.join(allowed)}")
        return words

    return parse


def plan(text: str) -> Plan:
    try:
        return Plan.parse(text)
    except Samed2dError as error:
        raise argparse.ArgumentTypeError(error.message) from error


def number_from(least: int, most: int | None = None) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text) if text.isdecimal() and text.isascii() else -1
        if value < least or (most is not None and value > most):
            ends = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"{text!r}: a whole number {ends}")
        return value

    return parse


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="see above")
    add("--model", choices=sorted(ARCHITECTURES), default="samed2d_t")
    add("--checkpoint", type=Path, help="weight file instead of the installed one")
    add("--prompts", type=plan, default="box,1,3,5", help="default: %(default)s")
    add("--protocol", choices=PROTOCOLS, default="noc", help="how the user clicks, see above")
    most = number_from(0, MAX_CLICKS)
    add("--max-clicks", type=most, default=20, metavar="N", help="default: 20; 0: not counted")
    add(
        "--points-at-once",
        action="store_true",
        help="protocol paper: 3 points are 1 on the object and 2 beside it, instead of corrections",
    )
    add("--zoom", type=words_of(ZOOMS), help="default: auto; in protocol paper always off")
    add("--backend", choices=sorted(BACKENDS), default="torch")
    add("--precision", type=words_of(PRECISIONS), default="fp32", help="default: %(default)s")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--every", type=number_from(1), default=1, metavar="N", help="only every Nth target")
    add("--out", type=Path, required=True, help="folder for the results")
    options = parser.parse_args(arguments)
    options.zoom = options.zoom or DEFAULT_ZOOM[options.protocol]
    if options.protocol == "paper" and options.zoom != ("off",):
        parser.error("protocol paper knows no zoom: leave --zoom out")
    if options.protocol == "noc" and options.points_at_once:
        parser.error("--points-at-once belongs to --protocol paper")
    return options


def request_of(options: argparse.Namespace) -> Request:
    return Request(
        data=options.data,
        model=options.model,
        checkpoint=options.checkpoint,
        plan=options.prompts,
        protocol=options.protocol,
        most=options.max_clicks if options.protocol == "noc" else 0,
        at_once=options.points_at_once,
        settings=tuple(Setting(*pair) for pair in product(options.zoom, options.precision)),
        backend=options.backend,
        device=options.device,
        every=options.every,
        out=options.out,
    )


@torch.no_grad()
def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        evaluation = Evaluation(request_of(options))
        results = evaluation.run()
        chosen = {key: str(value) for key, value in vars(options).items()}
        text = write_files(results, chosen, options.out)
        write_report(results, evaluation.examples(results), options.out / "report.html")
    except (Samed2dError, OSError) as error:
        message = error.message if isinstance(error, Samed2dError) else str(error)
        print(f"evaluate: {message}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("evaluate: interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    print(text, end="")
    return DONE


if __name__ == "__main__":
    sys.exit(main())

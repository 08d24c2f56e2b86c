#!/usr/bin/env python3
"""Measure a network: Dice after the exact box and after 1, 3, 5 clicks, and how long that takes.

A simulated user clicks on the innermost pixel of the target, then on the innermost pixel of the
largest error, and so on; nothing is random. DIR holds .npz files (image (H, W[, 3]), mask
(N, H, W), labels (N,)), whose masks are taken as they are, or pairs NAME_image.nii.gz /
NAME_label.nii.gz, of which every slice of plausible shape is taken, one target for each part of a
label.

Beside the network stands what one gets without any: the ellipse inscribed in the box, and for
clicks a region grown from them. Intervals are 95 %, patients resampled.

Several --zoom or --precision are compared in the same run, target by target; further precisions are
compared with the first one on the same prompts. Times are those of answers on an image that is
encoded already; what a zoom encodes counts.

Writes metrics.json and table.md into --out. Exit codes: 0 done, 1 failed, 2 wrong arguments.

Example:
  evaluate.py --data cases --zoom off,auto --out runs/zoom
  evaluate.py --data cases --backend openvino --precision fp32,bf16,int8 --out runs/precision
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from tqdm import tqdm

from lib.data.pool import LabelledImage, read_folder
from lib.errors import Samed2dError
from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import ChainDecoder
from lib.inference.decoder import PromptDecoder
from lib.inference.embedder import SliceEmbedder
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.segmenter import SegmentResult, SliceSegmenter
from lib.inference.view import SliceView
from lib.inference.worker import PriorityWorker
from lib.networks import ARCHITECTURES, AdapterSam, build_model, find_architecture
from lib.networks.backends import BACKENDS, Encoder, choose_device, make_encoder
from lib.options import ZOOMS
from lib.prompts.prompt import Prompt
from lib.training.baselines import ask_without_network
from lib.training.bootstrap import mean_intervals
from lib.training.evaluate import (
    Answer,
    Plan,
    agreement,
    annotate,
    network_side,
    size_class,
    size_names,
)

MIB = 1 << 20
PRECISIONS = ("fp32", "bf16", "int8")
ALL = "all"


@dataclass(frozen=True)
class Setting:
    """One way to answer."""

    zoom: str
    precision: str

    @property
    def name(self) -> str:
        """As tables say it."""
        return self.precision if self.zoom == "-" else f"zoom {self.zoom}, {self.precision}"


WITHOUT_NETWORK = Setting("-", "no network")


@dataclass(frozen=True)
class Row:
    """One target in one setting; ``same`` is the agreement with the first precision."""

    case: str
    patient: str
    label: str
    side: float
    setting: Setting
    answers: dict[str, Answer]
    same: dict[str, float]
    encode_seconds: float


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


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number of at least 1")
    return int(text)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="see above")
    add("--model", choices=sorted(ARCHITECTURES), default="samed2d_t")
    add("--checkpoint", type=Path, help="weight file instead of the installed one")
    add("--prompts", type=plan, default="box,1,3,5", help="default: %(default)s")
    add("--protocol", choices=("noc",), default="noc", help="how the user clicks, see above")
    add("--zoom", type=words_of(ZOOMS), default="auto", help="default: %(default)s")
    add("--backend", choices=sorted(BACKENDS), default="torch")
    add("--precision", type=words_of(PRECISIONS), default="fp32", help="default: %(default)s")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--every", type=positive, default=1, metavar="N", help="only every Nth target")
    add("--out", type=Path, required=True, help="folder for the results")
    return parser.parse_args(arguments)


class Contestant:
    """A setting with a network and caches of its own, so that none profits from another."""

    def __init__(self, setting: Setting, model: AdapterSam, encoder: Encoder) -> None:
        self.setting = setting
        self._intensity = model.config.intensity
        decoder = PromptDecoder(model, model.pixel_mean.device)
        self._segmenter = SliceSegmenter(
            SliceEmbedder(model, encoder, EmbeddingStore(64 * MIB), model.config.name),
            decoder,
            ChainDecoder(decoder, ByteBoundedCache(16 * MIB)),
            PriorityWorker(),
        )

    def open(self, case: LabelledImage) -> tuple[Callable[[Prompt], SegmentResult], float]:
        """Encode an image; what answers prompts on it, and the seconds it took."""
        view = SliceView(case.image, self._intensity)
        segmenter, zoom = self._segmenter, self.setting.zoom
        first = segmenter.segment(view, Prompt(points=((0, 0),), labels=(1,)), zoom="off")
        return lambda prompt: segmenter.segment(view, prompt, zoom=zoom), first.timings.encode


def contestants(options: argparse.Namespace) -> list[Contestant]:
    """For each zoom all precisions, the one they are compared with in front."""
    model = build_model(options.model, options.checkpoint)
    model = model.to(choose_device(options.device)).eval()
    encoders = {p: make_encoder(model, options.backend, p) for p in options.precision}
    settings = [Setting(*pair) for pair in product(options.zoom, options.precision)]
    return [Contestant(setting, model, encoders[setting.precision]) for setting in settings]


def rows_of(options: argparse.Namespace) -> Iterator[Row]:
    """A row for each target and setting, as soon as it is done."""
    cases = read_folder(options.data, whole=True)
    entrants = contestants(options)
    total = sum(len(case.masks) for case in cases)
    wanted = set(range(0, total, options.every))
    number = 0
    with tqdm(total=len(wanted), unit="target") as bar:
        for case in cases:
            numbers = range(number, number + len(case.masks))
            number += len(case.masks)
            if wanted.isdisjoint(numbers):
                continue
            grey = SliceView(case.image, find_architecture(options.model).intensity).image8()
            opened = [(entrant.setting, *entrant.open(case)) for entrant in entrants]
            for index in (n - numbers.start for n in numbers if n in wanted):
                references: dict[str, dict[str, Answer]] = {}
                for setting, ask, seconds in opened:
                    target = case.masks[index]
                    answers = annotate(ask, target, options.prompts)
                    reference = references.setdefault(setting.zoom, answers)
                    same = {} if reference is answers else agreement(ask, reference)
                    side = network_side(target)
                    label = case.labels[index]
                    who = case.name, case.patient, label, side
                    yield Row(*who, setting, answers, same, seconds)
                plain = annotate(ask_without_network(grey), target, options.prompts)
                yield Row(*who, WITHOUT_NETWORK, plain, {}, 0.0)
                bar.update()


def summary(rows: list[Row], names: tuple[str, ...]) -> dict[str, Any]:
    """Means over targets, of one setting."""
    found: dict[str, Any] = {"n_masks": len(rows)}
    for measure in ("dice", "iou", "seconds", "zoomed"):
        found[measure] = {
            name: float(np.mean([getattr(row.answers[name], measure) for row in rows]))
            for name in names
        }
    values = np.array([[row.answers[name].dice for name in names] for row in rows])
    intervals = mean_intervals(values, [row.patient for row in rows])
    found["dice_interval"] = {
        name: [interval.low, interval.high] for name, interval in zip(names, intervals, strict=True)
    }
    found["encode_seconds"] = float(np.mean([row.encode_seconds for row in rows]))
    if rows[0].same:
        found["agreement"] = {name: float(np.mean([r.same[name] for r in rows])) for name in names}
        found["worst_agreement"] = {name: min(r.same[name] for r in rows) for name in names}
    return found


def report(rows: list[Row], options: argparse.Namespace) -> dict[str, Any]:
    """What metrics.json holds: the first setting in front, all of them below ``settings``."""
    names = options.prompts.names
    settings = []
    for setting in sorted(dict.fromkeys(row.setting for row in rows), key=WITHOUT_NETWORK.__eq__):
        own = [row for row in rows if row.setting == setting]
        classes = {name: [r for r in own if size_class(r.side) == name] for name in size_names()}
        settings.append(
            {
                **vars(setting),
                **summary(own, names),
                "sizes": {name: summary(part, names) for name, part in classes.items() if part},
                "per_case": [per_case(row) for row in own],
            }
        )
    chosen = {key: str(value) for key, value in vars(options).items()}
    first = {key: settings[0][key] for key in ("dice", "dice_interval", "iou", "n_masks")}
    baseline = settings.pop()
    return {"options": chosen, **first, "settings": settings, "baseline": baseline}


def per_case(row: Row) -> dict[str, Any]:
    dice = {name: answer.dice for name, answer in row.answers.items()}
    zoomed = [name for name, answer in row.answers.items() if answer.zoomed]
    facts = {"case": row.case, "label": row.label, "network_side": row.side, "dice": dice}
    return {**facts, "zoomed": zoomed, **({"agreement": row.same} if row.same else {})}


def table(found: dict[str, Any], names: tuple[str, ...]) -> str:
    """The results as Markdown: by size, sizes in pixels of the network, and in all."""
    heads = [f"Dice {n}" for n in names] + [f"ms {n}" for n in names]
    compared = any("agreement" in setting for setting in found["settings"])
    heads += [f"same {n}" for n in names] * compared
    lines = [f"| target | n | setting | {' | '.join(heads)} | zoomed |"]
    lines.append("|---|---|---|" + "---|" * (len(heads) + 1))
    for size in (*size_names(), ALL):
        for setting in (*found["settings"], found["baseline"]):
            part = setting if size == ALL else setting["sizes"].get(size)
            if part is not None:
                name = Setting(setting["zoom"], setting["precision"]).name
                cells = [f"{part['dice'][n]:.3f}" for n in names]
                cells += [f"{1000 * part['seconds'][n]:.0f}" for n in names]
                same = part.get("agreement", {})
                cells += [f"{same[n]:.4f}" if same else "" for n in names] * compared
                cells.append(f"{np.mean(list(part['zoomed'].values())):.0%}")
                lines.append(f"| {size} | {part['n_masks']} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@torch.no_grad()
def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        rows = list(rows_of(options))
    except Samed2dError as error:
        print(f"evaluate: {error.message}", file=sys.stderr)
        return 1
    found = report(rows, options)
    text = table(found, options.prompts.names)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "metrics.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    (options.out / "table.md").write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())

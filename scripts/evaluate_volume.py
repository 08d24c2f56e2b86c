#!/usr/bin/env python3
"""Measure samed2d_volume: Dice of a volume after ONE click, and after a few corrections.

A simulated user clicks on the slice that halves the object's volume, on the innermost pixel of the
object there. Each correction is one click on the slice with the most wrong pixels, on the innermost
pixel of its largest error, foreground or background. Nothing is random.

DIR holds pairs NAME_image.nii.gz / NAME_label.nii.gz, or a table cases.csv with the columns
image,label[,case,value,name] (paths relative to DIR; an image may be a folder with a DICOM series;
value: one value of the label map, name: what it is called), or both.

Writes metrics.json and table.md into --out. Exit codes: 0 done, 1 failed, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from tqdm import tqdm

from lib.data.volume_cases import CaseFiles, LabelledObject, find_cases, objects_of, read_case
from lib.errors import Samed2dError
from lib.imaging.volume import Volume
from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import ChainDecoder
from lib.inference.decoder import PromptDecoder
from lib.inference.embedder import SliceEmbedder
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.propagate import PropagateSettings
from lib.inference.segmenter import SliceSegmenter
from lib.inference.view import SliceView
from lib.inference.volume_network import VolumeNetwork, VolumeSlices
from lib.inference.worker import PriorityWorker
from lib.networks import ARCHITECTURES, build_model
from lib.networks.backends import BACKENDS, choose_device, make_encoder
from lib.training.evaluate_volume import VolumeScore, annotate

MIB = 1 << 20


@dataclass(frozen=True)
class Row:
    """One object in the table; ``peak_mib`` is that of the process until then."""

    case: str
    label: str
    slices: int
    voxels: int
    score: VolumeScore
    peak_mib: int


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = PropagateSettings()
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="see above")
    parser.add_argument("--model", choices=sorted(ARCHITECTURES), default="samed2d_t")
    parser.add_argument("--checkpoint", type=Path, help="weight file instead of the installed one")
    parser.add_argument("--backend", choices=sorted(BACKENDS), default="torch")
    parser.add_argument("--precision", choices=("fp32", "bf16", "int8"), default="fp32")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--corrections", type=int, default=3, help="clicks after the first one")
    parser.add_argument(
        "--threshold",
        type=float,
        default=defaults.threshold,
        help="confidence below which the object has ended (default: %(default)s)",
    )
    parser.add_argument("--min-voxels", type=int, default=500, help="smaller objects are left out")
    parser.add_argument("--min-slices", type=int, default=4, help="thinner ones too")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    return parser.parse_args(arguments)


def make_segmenter(options: argparse.Namespace) -> SliceSegmenter:
    """The network with large caches: each slice is encoded once."""
    device = choose_device(options.device)
    model = build_model(options.model, options.checkpoint).to(device).eval()
    encoder = make_encoder(model, options.backend, options.precision)
    decoder = PromptDecoder(model, device)
    return SliceSegmenter(
        SliceEmbedder(model, encoder, EmbeddingStore(512 * MIB), options.model),
        decoder,
        ChainDecoder(decoder, ByteBoundedCache(64 * MIB)),
        PriorityWorker(),
    )


class Evaluation:
    """Runs the simulated user over all objects."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.segmenter = make_segmenter(options)
        self.intensity = ARCHITECTURES[options.model].intensity
        self.settings = PropagateSettings(threshold=options.threshold, seconds=float("inf"))

    def rows(self) -> Iterator[Row]:
        """A row for each object, as soon as it is done."""
        for files in find_cases(self.options.data):
            volume, labels = read_case(files)
            found = objects_of(files, labels, self.options.min_voxels, self.options.min_slices)
            for target in found:
                yield self._row(files, volume, target)

    def _row(self, files: CaseFiles, volume: Volume, target: LabelledObject) -> Row:
        def view(k: int) -> SliceView:
            return SliceView(volume.slice(k), self.intensity, volume.modality, volume.body_part)

        slices = VolumeSlices(volume.n_slices, view)
        steps = ByteBoundedCache(64 * MIB)
        with tqdm(
            total=1 + self.options.corrections,
            desc=f"{files.case} {target.name}",
            unit="click",
            leave=False,
        ) as bar:
            score = annotate(
                lambda: VolumeNetwork(self.segmenter, slices, steps),
                target.target,
                self.options.corrections,
                self.settings,
                bar.update,
            )
        return Row(
            case=files.case,
            label=target.name,
            slices=int(target.target.any(axis=(1, 2)).sum()),
            voxels=int(target.target.sum()),
            score=score,
            peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        )


def table(rows: list[Row]) -> str:
    """The results as Markdown, with the mean over all objects and the mean over the cases."""
    n = len(rows[0].score.dice)
    after = "".join(f" after {i} |" for i in range(1, n))
    lines = [
        f"| case | label | slices | voxels | slice | 1 click |{after} seconds | peak MiB |",
        "|---|---|---|---|---|---|" + "---|" * (n + 1),
    ]
    for row in rows:
        dice = " | ".join(f"{value:.3f}" for value in row.score.dice)
        lines.append(
            f"| {row.case} | {row.label} | {row.slices} | {row.voxels} | "
            f"{row.score.seed_dice:.3f} | {dice} | {row.score.seconds[0]:.2f} | {row.peak_mib} |"
        )
    for name, values in means(rows).items():
        lines.append(f"| {name} |||| | " + " | ".join(f"{v:.3f}" for v in values) + " |||")
    return "\n".join(lines) + "\n"


def means(rows: list[Row]) -> dict[str, list[float]]:
    """Mean Dice after each click: of all objects, and of all cases (mean of their means)."""
    cases: dict[str, list[tuple[float, ...]]] = {}
    for row in rows:
        cases.setdefault(row.case, []).append(row.score.dice)
    of_cases = [np.mean(dice, axis=0) for dice in cases.values()]
    return {
        "mean of objects": np.mean([row.score.dice for row in rows], axis=0).tolist(),
        "mean of cases": np.mean(of_cases, axis=0).tolist(),
    }


@torch.no_grad()
def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    options = parse_arguments(arguments)
    rows: list[Row] = []
    try:
        for row in Evaluation(options).rows():
            rows.append(row)
            dice = " ".join(f"{value:.3f}" for value in row.score.dice)
            tqdm.write(f"{row.case} {row.label}: Dice {dice}, {row.score.seconds[0]:.2f} s")
    except Samed2dError as error:
        print(f"evaluate_volume: {error.message}", file=sys.stderr)
        return 1
    if not rows:
        print("evaluate_volume: no object is large enough", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    report = {
        "options": {key: str(value) for key, value in vars(options).items()},
        "means": means(rows),
        "objects": [asdict(row) for row in rows],
    }
    (options.out / "metrics.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    (options.out / "table.md").write_text(table(rows), encoding="utf-8")
    print(table(rows), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One model on all objects, in a process of its own, so that its memory is its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.data.volume_cases import CaseFiles, LabelledObject, find_cases, objects_of, read_case
from lib.imaging.volume import ReadLimits
from lib.networks.weights import version_of
from lib.options import AppOptions
from lib.server.kinds import kind_of
from lib.server.models import ServedSpec, served_models
from lib.server.volumes import VolumeStore
from scripts._benchmark.memory import PeakMeter
from scripts._compare.rows import Row, read_rows, write_rows
from scripts._compare.user import segment

MODELS = Path(__file__).resolve().parents[2] / "apps" / "samed2d" / "models"
MIN_VOXELS, MIN_SLICES = 200, 3
VOLUMES_MIB = 1024


@dataclass(frozen=True)
class Comparison:
    """What is to be measured.

    Attributes:
        data: folder of labelled volumes, see `lib.data.volume_cases`.
        models: names.
        prompts: for each object.
        objects: of each volume, the largest.
        options: of the server.
        out: JSON file of the rows.
    """

    data: Path
    models: tuple[str, ...]
    prompts: int
    objects: int
    options: AppOptions
    out: Path

    def served(self, model: str) -> ServedSpec:
        """A model with its network.

        Raises:
            OptionError: no such model, or a network that it cannot have.
        """
        return next(m for m in served_models(MODELS, self.options) if m.spec.name == model)


def measure(comparison: Comparison, model: str) -> None:
    """Segment all objects with a model; rows are written one by one, those that exist are kept."""
    served = comparison.served(model)
    spec, options = served.spec, comparison.options
    kind = kind_of(spec)
    meter = PeakMeter()
    network = kind.network(served.choice, options)
    task = kind.infer(spec, options, network, VolumeStore(VOLUMES_MIB << 20, ReadLimits()))
    network.wait_until_settled()
    for case, target in _objects(comparison):
        rows = read_rows(comparison.out)
        if (model, network.version, case.case, target.name) in {row.key for row in rows}:
            continue
        session = segment(
            task, case.image, target.target, comparison.prompts, by_slice=spec.dimension == 2
        )
        use = meter.read()
        row = Row(
            model=model,
            version=session.version,
            case=case.case,
            object=target.name,
            voxels=int(target.target.sum()),
            dice=tuple(round(d, 4) for d in session.dice),
            seconds=tuple(round(s, 3) for s in session.seconds),
            memory_mib=None if use is None else round(use.peak),
        )
        write_rows(comparison.out, [*rows, row])
        said = (
            f"{model}, {case.case}, {target.name}: Dice {row.dice[0]:.3f}, then {row.dice[-1]:.3f}"
        )
        print(said, file=sys.stderr, flush=True)


def current(comparison: Comparison) -> list[Row]:
    """The rows of the models and weights that the comparison is about."""
    rows = read_rows(comparison.out)
    kept = []
    for model in comparison.models:
        choice = comparison.served(model).choice
        base = version_of(choice.architecture, choice.weights)
        kept += [row for row in rows if row.model == model and row.version.startswith(base)]
    return kept


def _objects(comparison: Comparison) -> Iterator[tuple[CaseFiles, LabelledObject]]:
    for case in find_cases(comparison.data):
        _, labels = read_case(case)
        found = list(objects_of(case, labels, MIN_VOXELS, MIN_SLICES))
        found.sort(key=lambda one: -int(one.target.sum()))
        for target in found[: comparison.objects]:
            yield case, target

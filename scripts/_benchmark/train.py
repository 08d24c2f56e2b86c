"""``benchmark.py train``: one batch of training, ours against the original's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lib.networks.backends import choose_device
from lib.training.recipe import DEFAULT
from lib.training.run_plan import choose_autocast
from scripts._benchmark.memory import MemoryUse
from scripts._benchmark.network import NetworkSource
from scripts._benchmark.statistics import Summary, summarise, times_faster
from scripts._benchmark.train_sides import Laps, SidePlan, original_side, our_side
from scripts._benchmark.turns import Side

Say = Callable[[str], None]

ORIGINAL = "float32; after each of nine steps an update of all weights it has gradients for (Adam)"


@dataclass(frozen=True)
class TrainPlan:
    """What is to be measured.

    Attributes:
        source: the network.
        images: in a batch.
        masks: of each image.
        rounds: batches of each side, in turn.
        precision: of our side: "fp32", "bf16", or "auto" for what training chooses here.
        upstream: checkout of the original; None takes our own modules, unchanged, in its loop.
        device: "cpu", "cuda" or "auto".
    """

    source: NetworkSource
    images: int
    masks: int
    rounds: int
    precision: str
    upstream: Path | None
    device: str = "cpu"


@dataclass(frozen=True)
class TrainSideReport:
    """One side; what its parts are is said by `scripts._benchmark.train_sides.Laps`.

    Attributes:
        name: of the side.
        about: precision and updates.
        encode, learn, steps, total: of a batch.
        processor: time of all cores for a batch.
        images_per_second: by the median batch.
        memory: of the side's process, from its start to its end.
        gpu_peak: MiB of the GPU's memory at most, None without one.
    """

    name: str
    about: str
    encode: Summary
    learn: Summary
    steps: Summary
    total: Summary
    processor: Summary
    images_per_second: float
    memory: MemoryUse | None
    gpu_peak: float | None


@dataclass(frozen=True)
class TrainReport:
    """Everything that was found.

    Attributes:
        architecture, weights, device: what was measured.
        images, masks: the batch.
        rounds: batches of each side.
        baseline, ours: the two sides.
        times_faster: images a second of ours by those of the baseline.
        times_less_work: processor time of the baseline by ours; less disturbed by other work.
    """

    architecture: str
    weights: str
    device: str
    images: int
    masks: int
    rounds: int
    baseline: TrainSideReport
    ours: TrainSideReport
    times_faster: float
    times_less_work: float


def run(plan: TrainPlan, say: Say) -> TrainReport:
    """Measure; ``say`` is told what happens.

    Raises:
        BenchmarkError: the checkout cannot be used, or a side failed.
        OptionError: the device is not there.
    """
    device = choose_device(plan.device)
    autocast = choose_autocast(plan.precision, device, "adapters")
    sides = SidePlan(
        source=plan.source,
        images=plan.images,
        masks=plan.masks,
        threads=torch.get_num_threads(),
        device=plan.device,
        autocast=autocast,
        upstream=plan.upstream,
    )
    say("preparing both sides")
    with Side(original_side, sides) as original, Side(our_side, sides) as ours:
        laps: tuple[list[Laps], list[Laps]] = ([], [])
        for number in range(plan.rounds + 1):
            say(f"round {number} of {plan.rounds}" if number else "warming up")
            for side, seconds in zip((original, ours), laps, strict=True):
                turn = side.take_turn()
                if number > 0:
                    seconds.append(turn)
        name = "our modules in its loop" if plan.upstream is None else "original"
        precision = "float32" if autocast is None else "bfloat16, weights that learn in float32"
        about = f"{precision}; one update after {DEFAULT.interaction.corrections + 1} steps"
        baseline = _report(name, ORIGINAL, laps[0], original.end(), plan.images)
        faster = _report("ours", about, laps[1], ours.end(), plan.images)
    return TrainReport(
        architecture=plan.source.architecture,
        weights=plan.source.description,
        device=device.type,
        images=plan.images,
        masks=plan.masks,
        rounds=plan.rounds,
        baseline=baseline,
        ours=faster,
        times_faster=times_faster(baseline.total, faster.total),
        times_less_work=times_faster(baseline.processor, faster.processor),
    )


def _report(
    name: str, about: str, laps: Sequence[Laps], memory: MemoryUse | None, images: int
) -> TrainSideReport:
    total = summarise([lap.total for lap in laps])
    return TrainSideReport(
        name=name,
        about=about,
        encode=summarise([lap.encode for lap in laps]),
        learn=summarise([lap.learn for lap in laps]),
        steps=summarise([lap.steps for lap in laps]),
        total=total,
        processor=summarise([lap.processor for lap in laps]),
        images_per_second=1000 * images / total.median,
        memory=memory,
        gpu_peak=laps[-1].gpu_mib,
    )

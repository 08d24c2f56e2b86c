"""What each part of the compact network and of its training is worth: one is undone at a time.

Every variant trains from random numbers for the same number of steps. That shows what learns
faster, which on a CPU decides; it does not show where a variant would be after days.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lib.data.pool import LabelledImage
from lib.networks.architectures import Architecture, find_architecture
from lib.networks.sam import build_sam
from lib.training.losses import LossWeights
from lib.training.pretrain import Pretrainer, PretrainPlan
from lib.training.validation import Summary, ValidationSet


@dataclass(frozen=True)
class Variant:
    """A network and how it is trained."""

    architecture: Architecture
    plan: PretrainPlan


def variants(architecture: Architecture, plan: PretrainPlan) -> dict[str, Variant]:
    """The given network and plan as "all of it", and with one thing undone each.

    Args:
        architecture: with a stem and details, as samed2d_t.
        plan: of every run.
    """
    undrawn = replace(architecture, detail_channels=0)
    mixture, objective = plan.mixture, plan.objective
    return {
        "all of it": Variant(architecture, plan),
        "neither details nor drawn prompts": Variant(undrawn, plan),
        "patches instead of a stem, and the line above": Variant(replace(undrawn, stem=None), plan),
        "phantoms alone": Variant(architecture, _mixed(plan, real_share=0.0)),
        "no segments of real images": Variant(architecture, _mixed(plan, region_share=0.0)),
        "of the phantoms only those without anatomy": Variant(
            architecture, _mixed(plan, kinds=("scenes", "shapes"))
        ),
        "phantoms always as they were drawn": Variant(
            architecture, replace(plan, mixture=replace(mixture, phantom_views=0, phantom_tones=0))
        ),
        "the IoU counts 1 instead of 5": Variant(
            architecture, replace(plan, objective=replace(objective, weights=LossWeights()))
        ),
        "Muon at three times the rate instead of AdamW": Variant(
            architecture, replace(plan, optimiser="muon", learning_rate=3 * plan.learning_rate)
        ),
        "masks compared at 64 instead of 128 pixels": Variant(
            architecture, replace(plan, objective=replace(objective, size=64))
        ),
    }


def _mixed(plan: PretrainPlan, **changes: object) -> PretrainPlan:
    return replace(plan, mixture=replace(plan.mixture, **changes))  # type: ignore[arg-type]


def default_variants(steps: int, batch_size: int, seed: int) -> dict[str, Variant]:
    """Variants of samed2d_t, each trained for so many steps."""
    plan = PretrainPlan(steps=steps, batch_size=batch_size, seed=seed, learning_rate=8e-4)
    return variants(find_architecture("samed2d_t"), plan)


def try_variant(
    variant: Variant,
    training: Sequence[LabelledImage],
    tests: Mapping[str, Sequence[LabelledImage]],
    out: Path,
    report: Callable[[int], None] = lambda step: None,
) -> dict[str, Summary]:
    """Train a network from random numbers and judge it.

    Args:
        variant: to be tried.
        training: real images to learn from.
        tests: images it is judged on, by name of the set; none of ``training``.
        out: folder of the run, see `Pretrainer.save`; an interrupted run there is gone on with.
        report: called with the number of steps made.

    Returns:
        Figures by name of the set.
    """
    torch.manual_seed(variant.plan.seed)
    run = Pretrainer(build_sam(variant.architecture), training, variant.plan, out)
    run.resume()
    try:
        run.run(lambda run, result: report(run.step))
    finally:
        run.save()
    model = run.averaged_model
    return {
        name: Summary.of(ValidationSet(model, images).scores()) for name, images in tests.items()
    }

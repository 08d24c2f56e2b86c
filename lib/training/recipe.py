"""Recipes: everything that decides how a network learns from interactions, in one record.

``PAPER`` is SAM-Med2D's training as its public code does it (Cheng et al. 2023, arXiv:2308.16184),
faults included. ``DEFAULT`` is ours. They are two values of one type, so that each difference can
be switched on and off alone; docs/explanation/training.md has the measured effect of each.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import nn
from torch.optim import Adam, AdamW, Optimizer

from lib.errors import OptionError
from lib.networks.architectures import AdapterKind
from lib.networks.checkpoint import kind_of_adapter
from lib.networks.sam import AdapterSam
from lib.training.annotator import (
    Annotator,
    InteractionPlan,
    Masks,
    Prompter,
    PublishedAnnotator,
)
from lib.training.losses import LossWeights
from lib.training.objective import Objective, PublishedObjective, RowObjective

Part = Literal["adapters", "only_adapters", "decoder"]
IOU_HEAD = "iou_prediction_head"

PARTS: tuple[Part, ...] = ("adapters", "only_adapters", "decoder")
"""What learns: adapters, prompt encoder and decoder; adapters alone, those of the decoder too; or
prompt encoder and decoder on embeddings that stay."""


def trains_encoder(part: Part) -> bool:
    """Whether embeddings change while it learns."""
    return part != "decoder"


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        name: as clients choose it.
        published_prompts: prompts by `PublishedAnnotator` instead of ours.
        interaction: how our annotator behaves.
        published_loss: one loss over the whole batch instead of one for each row.
        weights: of focal, dice and IoU loss.
        loss_size: edge length at which our loss compares masks.
        all_share: what the mean over all masks counts in our loss; the best one counts the rest.
        first_weight: what the first prompt counts where a correction counts 1; with ``after``
            "batch" only. Most answers a user waits for are to a first click.
        after: update the weights after each "batch" or after each "step", see `lib.training.loop`.
        all_prompts: every embedding of prompts and the mask path learn. SAM-Med2D's code replaces
            the embeddings of points at each call and runs the mask path without gradients, so
            neither of them ever learns.
        published_framing: images normalised with the channels as the file was read (BGR), padded or
            resized with nearest neighbour; ours shows images as the server does.
        augment: random geometry and intensity.
        objects: rows for each image; drawn with replacement where ``published_prompts``, else at
            most so many.
        rehearsal: share of images that are phantoms, so that what the network could do stays.
        learning_rate: of Adam, or the peak of a schedule.
        iou_rate: what the rate of the head that predicts the IoU is multiplied by. Adam's steps
            have the size of the rate, and that head starts far off on a new kind of image.
        schedule: linear warm-up and a cosine down to zero instead of a constant rate.
        warmup: share of the run.
        weight_decay: of matrices and kernels.
        clip: largest norm of the gradient, None for no limit.
        ema: decay of the moving average of the weights that is kept as the result, None for none.
    """

    name: str
    published_prompts: bool = False
    interaction: InteractionPlan = field(
        default_factory=lambda: InteractionPlan(corrections=8, mask_only_share=0.15)
    )
    published_loss: bool = False
    weights: LossWeights = field(default_factory=LossWeights)
    loss_size: int = 128
    all_share: float = 0.5
    first_weight: float = 4.0
    after: Literal["batch", "step"] = "batch"
    all_prompts: bool = True
    published_framing: bool = False
    augment: bool = True
    objects: int = 5
    rehearsal: float = 0.25
    learning_rate: float = 5e-4
    iou_rate: float = 5.0
    schedule: bool = True
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip: float | None = 1.0
    ema: float | None = None

    def objective(self) -> Objective:
        """The loss of one step."""
        if self.published_loss:
            return PublishedObjective(self.weights)
        return RowObjective(self.weights, self.loss_size, self.all_share)

    def prompter(
        self, targets: Masks, rng: np.random.Generator, rows: tuple[int, ...] | None = None
    ) -> Prompter:
        """The annotator of one batch.

        Args:
            targets: (R, S, S), none of them empty.
            rng: source of all its choices.
            rows: see `lib.training.annotator.Annotator`.
        """
        if not self.published_prompts:
            return Annotator(targets, self.interaction, rng, rows)
        python = random.Random(int(rng.integers(1 << 32)))
        return PublishedAnnotator(
            targets, python, np.random.RandomState(int(rng.integers(1 << 32)))
        )

    def optimiser(self, parameters: Mapping[str, nn.Parameter]) -> Optimizer:
        """Adam, as published, or AdamW where there is weight decay.

        Its groups carry ``rate``, what their learning rate is multiplied by.

        Args:
            parameters: that learn, by name.
        """
        if not self.weight_decay:
            return Adam([{"params": list(parameters.values()), "rate": 1.0}], lr=self.learning_rate)
        groups = []
        for head, rate in ((False, 1.0), (True, self.iou_rate)):
            chosen = [p for name, p in parameters.items() if (IOU_HEAD in name) == head]
            matrices = [p for p in chosen if p.ndim >= 2]
            vectors = [p for p in chosen if p.ndim < 2]
            groups.append({"params": matrices, "weight_decay": self.weight_decay, "rate": rate})
            groups.append({"params": vectors, "weight_decay": 0.0, "rate": rate})
        # One pass over the weights without copies of them: a quarter of the time on a CPU.
        groups = [group for group in groups if group["params"]]
        return AdamW(groups, lr=self.learning_rate, fused=True)


PAPER = Recipe(
    name="paper",
    published_prompts=True,
    published_loss=True,
    weights=LossWeights(),
    first_weight=1.0,
    after="step",
    all_prompts=False,
    published_framing=True,
    augment=False,
    rehearsal=0.0,
    learning_rate=1e-4,
    iou_rate=1.0,
    schedule=False,
    weight_decay=0.0,
    clip=None,
    ema=None,
)

DEFAULT = Recipe(name="default")

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (DEFAULT, PAPER)}


def find_recipe(name: str) -> Recipe:
    """Look a recipe up by name.

    Raises:
        OptionError: no recipe has that name.
    """
    if name not in RECIPES:
        raise OptionError(
            got=f"recipe {name!r}", allowed=", ".join(RECIPES), todo="choose one of these"
        )
    return RECIPES[name]


def prepare_parameters(model: AdapterSam, part: Part, recipe: Recipe) -> dict[str, nn.Parameter]:
    """Freeze what does not learn; the parameters that do, by name.

    Args:
        model: whose parameters get their ``requires_grad``.
        part: what learns.
        recipe: decides about the embeddings of prompts.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_learns(name, part, recipe, model.config.adapters[-1]))
    return learning_parameters(model)


def learning_parameters(model: AdapterSam) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name, after `prepare_parameters`."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _learns(name: str, part: Part, recipe: Recipe, adapters: AdapterKind) -> bool:
    # Slices are learned from one by one: what works along depth would get no gradient.
    own = kind_of_adapter(name) == adapters and ".Depth_Adapter." not in name
    if part == "only_adapters":
        return own
    if name.startswith("image_encoder."):
        return part == "adapters" and own
    if recipe.all_prompts or not name.startswith("prompt_encoder."):
        return True
    # 2 and 3 are the corners of a box.
    return name.split(".")[1:3] in (
        ["point_embeddings", "2"],
        ["point_embeddings", "3"],
        ["no_mask_embed", "weight"],
    )

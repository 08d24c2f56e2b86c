"""What each difference between our recipe and SAM-Med2D's is worth: one is undone at a time.

Beside recipes, the adapters in the decoder of Medical SAM Adapter are compared in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lib.data.pool import LabelledImage
from lib.errors import CheckpointError, OptionError
from lib.networks import (
    build_model,
    build_sam,
    find_architecture,
    installed_weights,
    load_checkpoint,
)
from lib.networks.architectures import Conditioning
from lib.networks.backends import TorchEncoder
from lib.networks.sam import AdapterSam
from lib.networks.training_encoder import TrainingEncoder
from lib.training.examples import EncodedExamples, ExampleSource, FreshExamples, learnable
from lib.training.feed import Feed
from lib.training.handlers import using
from lib.training.learner import Learner
from lib.training.parallel import LocalNetwork
from lib.training.recipe import DEFAULT, PAPER, Part, Recipe, prepare_parameters, trains_encoder
from lib.training.run_plan import STOCK_PHANTOMS, variants_of
from lib.training.validation import Summary, ValidationSet

VARIANTS: dict[str, Recipe] = {
    "default": DEFAULT,
    "one loss for the whole batch": replace(DEFAULT, published_loss=True),
    "only the best mask learns": replace(DEFAULT, all_share=0.0),
    "all masks learn alike": replace(DEFAULT, all_share=1.0),
    "first prompt counts like a correction": replace(DEFAULT, first_weight=1.0),
    "embeddings of prompts and mask path fixed": replace(DEFAULT, all_prompts=False),
    "boxes shifted, not their edges": replace(
        DEFAULT, interaction=replace(DEFAULT.interaction, box="shift")
    ),
    "clicks anywhere on a mistake": replace(
        DEFAULT, interaction=replace(DEFAULT.interaction, clicks="uniform")
    ),
    "no mask-only steps": replace(
        DEFAULT, interaction=replace(DEFAULT.interaction, mask_only_share=0.0)
    ),
    "one correction instead of eight": replace(
        DEFAULT, interaction=replace(DEFAULT.interaction, corrections=1)
    ),
    "no augmentation": replace(DEFAULT, augment=False),
    "no phantoms": replace(DEFAULT, rehearsal=0.0),
    "constant rate": replace(DEFAULT, schedule=False),
    "no clipping": replace(DEFAULT, clip=None),
    "with a moving average": replace(DEFAULT, ema=0.98),
    "IoU head at the common rate": replace(DEFAULT, iou_rate=1.0),
    "paper": PAPER,
}
"""The default, with one thing undone each, and the published recipe as a whole."""

NETWORKS: dict[str, Conditioning] = {
    "no adapters in the decoder": "none",
    "decoder adapters without the prompt": "plain",
    "prompt added in the decoder adapter": "additive",
    "HyP-Adpt": "hyp",
}
"""Networks of Medical SAM Adapter; they learn by the default recipe."""


def build_variant(name: str, variant: str, checkpoint: Path | None = None) -> AdapterSam:
    """The network for a variant, with trained weights.

    Args:
        name: of its architecture.
        variant: of `VARIANTS`, which are trained as they are, or of `NETWORKS`.
        checkpoint: weight file; None takes the installed one.

    Raises:
        OptionError: no such architecture, or a variant of `NETWORKS` for one without Med-SA's
            adapters.
        CheckpointError: no weights, or a file that does not fit.
    """
    if variant not in NETWORKS:
        return build_model(name, checkpoint)
    architecture = find_architecture(name)
    if "medsa" not in architecture.adapters:
        raise OptionError(
            got=f"variant {variant!r} for {name}",
            allowed="a network with Med-SA's adapters, such as medsa_t",
            todo="choose another architecture or another variant",
        )
    model = build_sam(replace(architecture, decoder_adapters=NETWORKS[variant]))
    path = checkpoint or installed_weights(name)
    if path is None:
        raise CheckpointError(
            got=f"no weights for {name}", todo="run scripts/get_weights.py, or name a checkpoint"
        )
    load_checkpoint(model, path)
    return model


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        part: what learns.
        batches: of the run.
        batch_size: images in each.
        cases: patients to learn from; all others test.
        seed: of choice and training.
    """

    part: Part
    batches: int
    batch_size: int
    cases: int
    seed: int


def divide(
    images: Sequence[LabelledImage], cases: int, seed: int
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Images of so many patients, drawn by ``seed``, and those of all others."""
    patients = sorted({image.patient for image in images})
    order = np.random.default_rng(seed).permutation(len(patients))
    chosen = {patients[n] for n in order[:cases]}
    learned = [image for image in images if image.patient in chosen]
    return learned, [image for image in images if image.patient not in chosen]


def try_recipe(
    model: AdapterSam,
    images: Sequence[LabelledImage],
    recipe: Recipe,
    trial: Trial,
    every: int = 0,
    show: Callable[[int, float, Summary], None] = lambda step, seconds, summary: None,
) -> tuple[Summary, Summary]:
    """Train a network and judge it before and after, on the patients it did not learn from.

    Args:
        model: with its weights; it is changed.
        images: of one task.
        recipe: to be tried.
        trial: everything else.
        every: judge it after so many batches as well; 0 for not at all.
        show: called with batches, processor seconds of encoding and learning, and figures.
    """
    learned, tested = divide(images, trial.cases, trial.seed)
    test = ValidationSet(model, tested, keep=not trains_encoder(trial.part))
    before = Summary.of(test.scores())
    show(0, 0.0, before)
    spent = -time.process_time()
    prepare_parameters(model, trial.part, recipe)
    encode = TrainingEncoder(model) if trains_encoder(trial.part) else None
    learner = Learner(LocalNetwork(model, encode), recipe)
    feed = Feed(_source(model, learned, recipe, trial.part), trial.batch_size, trial.seed)
    model.train()
    for step in range(trial.batches):
        batch = feed.batch(1, step)
        rng = feed.rng(1, step)
        learner.learn(batch, lambda rng=rng: rng, step / trial.batches)  # type: ignore[misc]
        if every and (step + 1) % every == 0 and step + 1 < trial.batches:
            spent += time.process_time()
            with using(learner):
                show(step + 1, spent, Summary.of(test.scores()))
            spent -= time.process_time()
    spent += time.process_time()
    with using(learner):
        after = Summary.of(test.scores())
    show(trial.batches, spent, after)
    return before, after


def _source(
    model: AdapterSam, images: Sequence[LabelledImage], recipe: Recipe, part: Part
) -> ExampleSource:
    images = learnable(images, model, recipe)
    if trains_encoder(part):
        return FreshExamples(images, model, recipe)
    count = variants_of(model, len(images))
    return EncodedExamples(images, model, recipe, TorchEncoder(model).encode, count, STOCK_PHANTOMS)

"""One interactive batch: prompts are simulated, answered, corrected and learned from.

The image encoder runs once a batch, the decoder once for each step of the interaction. There are
two ways to learn from the steps:

* ``after="batch"``, ours: gradients of all steps are summed, and those with respect to the
  embeddings go back through the encoder once. One update of the weights a batch;
* ``after="step"``, SAM-Med2D's (arXiv:2308.16184, training script): an update after each step. The
  first one reaches the encoder and the prompt encoder, the others the decoder only, on embeddings
  that were computed before the first update.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lib.networks.sam import AdapterSam
from lib.training.annotator import Annotator, InteractionPlan, Prompter
from lib.training.objective import Objective, RowObjective, shown_masks
from lib.training.parallel import LocalNetwork, TrainedNetwork


@dataclass(frozen=True)
class Batch:
    """Images with the objects to segment in them.

    Attributes:
        images: (B, 3, S, S) float, 8 bit RGB values 0..255; or their embeddings, see
            ``encoded``.
        targets: (R, S, S) bool masks, R objects in all.
        image_of: (R,) index of each object's image.
        encoded: ``images`` holds embeddings (B, C, S/16, S/16), and the encoder is not needed.
        normalised: ``images`` holds the network's input already.
        rows: number of each row, the same however a batch is divided among processes; None where
            it is not divided.
        share: what this part of a divided batch weighs, so that the mean over processes is the
            mean over all rows; 1 where it is not divided.
    """

    images: Tensor
    targets: NDArray[np.bool_]
    image_of: Tensor
    encoded: bool = False
    normalised: bool = False
    rows: tuple[int, ...] | None = None
    share: float = 1.0


@dataclass(frozen=True)
class BatchResult:
    """Numbers of one batch, one entry a step: loss and mean Dice of the mask a user would see."""

    losses: tuple[float, ...]
    dices: tuple[float, ...]


def interact(
    network: TrainedNetwork,
    batch: Batch,
    prompter: Prompter,
    objective: Objective,
    update: Callable[[], None] = lambda: None,
    after: Literal["batch", "step"] = "batch",
    autocast: torch.dtype | None = None,
    first_weight: float = 1.0,
) -> BatchResult:
    """Run one simulated interaction; gradients are left in the parameters for ``update``.

    Args:
        network: in training mode; parameters with ``requires_grad`` receive gradients.
        batch: images and objects.
        prompter: the simulated annotator.
        objective: loss of a step.
        update: takes the gradients, changes the weights and forgets the gradients.
        after: when to call it, see above.
        autocast: reduced precision of encoder and decoder (torch.bfloat16), None for float32.
        first_weight: what the first step counts where a correction counts 1; "batch" only.
    """
    device = network.model.pixel_mean.device
    with autocast_on(device, autocast):
        embeddings = _embed(network, batch)
    leaf = embeddings.detach().requires_grad_(embeddings.requires_grad and after == "batch")
    targets = torch.from_numpy(batch.targets).to(device)
    image_of = batch.image_of.to(device)
    weights = _step_weights(prompter.steps, first_weight if after == "batch" else None)
    prompts = prompter.first()
    losses: list[float] = []
    dices: list[float] = []
    for step in range(prompter.steps):
        last = step == prompter.steps - 1
        updates = last or after == "step"
        through = embeddings if after == "step" and step == 0 else leaf
        # The last step of a batch carries home what the earlier ones want of the encoder.
        home = embeddings if last and after == "batch" and leaf.requires_grad else None
        with (
            contextlib.nullcontext() if updates else network.apart(),
            _fixed(network.model.prompt_encoder, after == "step" and step > 0),
        ):
            with autocast_on(device, autocast):
                source = through if home is None else home
                low_res, iou = network.decode(
                    source[image_of], prompts.to(device), prompter.asks_for_candidates()
                )
            loss = objective(low_res.float(), iou.float(), targets)
            total = loss * (batch.share * weights[step])
            if home is not None and leaf.grad is not None:
                total = total + (home * leaf.grad).sum()
            torch.autograd.backward(total)
        masks, logits = shown_masks(network.model, low_res, iou, batch.targets.shape[-1])
        losses.append(float(loss.detach()))
        dices.append(mean_dice(masks, targets))
        if updates:
            update()
        if not last:
            prompts = prompter.correct(masks.cpu().numpy(), logits.cpu())
    return BatchResult(tuple(losses), tuple(dices))


def interactive_batch(
    model: AdapterSam,
    batch: Batch,
    rng: np.random.Generator,
    plan: InteractionPlan,
    objective: Objective | None = None,
    autocast: torch.dtype | None = None,
) -> BatchResult:
    """Our interaction on a model in this process; its gradients are left in the parameters.

    Args:
        model: in training mode; parameters with ``requires_grad`` receive gradients.
        batch: images and objects.
        rng: source of all random choices.
        plan: how the annotator behaves.
        objective: loss of a step; `RowObjective` as it is where None.
        autocast: reduced precision of encoder and decoder (torch.bfloat16), None for float32.
    """
    annotator = Annotator(batch.targets, plan, rng, batch.rows)
    loss = objective or RowObjective()
    return interact(LocalNetwork(model), batch, annotator, loss, autocast=autocast)


def _step_weights(steps: int, first: float | None) -> list[float]:
    """What each step's loss counts: 1 where every step has its own update, else 1 in all."""
    if first is None:
        return [1.0] * steps
    return [weight / (first + steps - 1) for weight in (first, *[1.0] * (steps - 1))]


def _embed(network: TrainedNetwork, batch: Batch) -> Tensor:
    """Embeddings (B, C, h, w) float32 of the batch's images."""
    images = batch.images.to(network.model.pixel_mean.device)
    if batch.encoded:
        return images
    with network.apart():
        return network.encode(images if batch.normalised else network.model.normalise(images))


@contextlib.contextmanager
def _fixed(module: nn.Module, active: bool) -> Iterator[None]:
    """Keep a module's parameters from receiving gradients for a while."""
    learning = [p for p in module.parameters() if p.requires_grad] if active else []
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_()


def mean_dice(predicted: Tensor, targets: Tensor) -> float:
    """Mean Dice of boolean masks (R, ...), row by row; 0 where both are empty."""
    overlap = (predicted & targets).flatten(1).sum(dim=1)
    size = predicted.flatten(1).sum(dim=1) + targets.flatten(1).sum(dim=1)
    return float((2 * overlap / size.clamp(min=1)).mean())


def autocast_on(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    """Reduced precision for what is computed in it; none where ``dtype`` is None."""
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)

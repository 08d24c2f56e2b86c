"""One interactive batch: prompts are simulated, answered, corrected and learned from.

The image encoder runs once a batch; the decoder runs once for each step of the interaction. The
steps' gradients with respect to the embeddings are summed and go back through the encoder once.
This is our default recipe (differences to SAM-Med2D's published loop: losses for each row, clicks
accumulate as they do in a viewer, every prompt embedding and the mask path are trained).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib.networks.sam import AdapterSam, PromptTensors, upsample_logits
from lib.prompts.simulate import Click, interior_click, next_click, random_box, random_click
from lib.training.losses import DEFAULT_WEIGHTS, LossWeights, row_losses


@dataclass(frozen=True)
class InteractionPlan:
    """How an annotator is imitated in one batch.

    Attributes:
        corrections: clicks after the first prompt, each on the worst mistake so far.
        box_share: how often the first prompt is a box instead of a click.
        both_share: how often it is a box and a click.
        interior_share: how often a click is the innermost pixel instead of a random one.
        near_boundary: how often a random click lies near the boundary.
        single_share: how often the decoder's single-mask output is trained instead of the three.
        loss_size: edge length in pixels at which masks are compared; a divisor of 256.
    """

    corrections: int = 1
    box_share: float = 0.3
    both_share: float = 0.1
    interior_share: float = 0.5
    near_boundary: float = 0.2
    single_share: float = 0.15
    loss_size: int = 64


@dataclass(frozen=True)
class Batch:
    """Images with the objects to segment in them.

    Attributes:
        images: (B, 3, S, S) float, 8 bit RGB values 0..255.
        targets: (R, S, S) bool masks, R objects in all.
        image_of: (R,) index of each object's image.
    """

    images: Tensor
    targets: NDArray[np.bool_]
    image_of: Tensor


@dataclass(frozen=True)
class BatchResult:
    """Numbers of one batch, one entry a step: mean total loss and mean Dice of the chosen mask."""

    losses: tuple[float, ...]
    dices: tuple[float, ...]


class _Dialogue:
    """The growing prompts of R objects during one batch."""

    def __init__(
        self, targets: NDArray[np.bool_], plan: InteractionPlan, rng: np.random.Generator
    ) -> None:
        self.targets, self.plan, self.rng = targets, plan, rng
        self.clicks: list[list[Click]] = [[] for _ in targets]
        self.boxes: list[tuple[float, float, float, float]] | None = None
        self.masks: Tensor | None = None
        kind = rng.random()
        if kind < plan.box_share + plan.both_share:
            self.boxes = [random_box(t, rng, sigma=0.05) for t in targets]
        if kind >= plan.box_share:
            self._add([self._first(t) for t in targets])

    def _first(self, target: NDArray[np.bool_]) -> Click:
        if self.rng.random() < self.plan.interior_share:
            return interior_click(target)
        return random_click(target, self.rng, self.plan.near_boundary)

    def _add(self, clicks: Sequence[Click]) -> None:
        for row, click in zip(self.clicks, clicks, strict=True):
            row.append(click)

    def correct(self, predicted: NDArray[np.bool_], low_res: Tensor) -> None:
        """Add one click a row where ``predicted`` (R, S, S) is most wrong; keep its mask."""
        share = 1.0 - self.plan.interior_share
        self._add(
            [
                next_click(p, t, self.rng, random_share=share)
                for p, t in zip(predicted, self.targets, strict=True)
            ]
        )
        self.masks = torch.sigmoid(low_res.detach().float())

    def tensors(self) -> PromptTensors:
        """The prompts so far as network input."""
        points = labels = None
        if self.clicks[0]:
            points = torch.tensor([[(c.x, c.y) for c in row] for row in self.clicks]).float()
            labels = torch.tensor([[c.label for c in row] for row in self.clicks])
        boxes = None if self.boxes is None else torch.tensor(self.boxes)
        return PromptTensors(points, labels, boxes, self.masks)


def interactive_batch(
    model: AdapterSam,
    batch: Batch,
    rng: np.random.Generator,
    plan: InteractionPlan,
    weights: LossWeights = DEFAULT_WEIGHTS,
    autocast: torch.dtype | None = None,
) -> BatchResult:
    """Run one simulated interaction and leave its gradients in the model's parameters.

    Args:
        model: in training mode; parameters with ``requires_grad`` receive gradients.
        batch: images and objects.
        rng: source of all random choices.
        plan: how the annotator behaves.
        weights: of focal, dice and IoU loss.
        autocast: reduced precision of encoder and decoder (torch.bfloat16), None for float32.
    """
    with _autocast(autocast):
        embeddings = model.encode(model.normalise(batch.images)).float()
    leaf = embeddings.detach().requires_grad_()
    targets = torch.from_numpy(batch.targets)[:, None]
    size = batch.targets.shape[-1]
    stride = size // plan.loss_size
    small_targets = targets[..., stride // 2 :: stride, stride // 2 :: stride].float()
    dialogue = _Dialogue(batch.targets, plan, rng)
    losses: list[float] = []
    dices: list[float] = []
    for step in range(plan.corrections + 1):
        with _autocast(autocast):
            multimask = bool(rng.random() >= plan.single_share)
            low_res, iou = model.decode(leaf[batch.image_of], dialogue.tensors(), multimask)
        loss, best = _best_candidate_loss(
            low_res.float(), iou.float(), small_targets, plan.loss_size, weights
        )
        torch.autograd.backward(loss / (plan.corrections + 1))
        with torch.no_grad():
            chosen = low_res.detach().float()[torch.arange(len(best)), best][:, None]
            predicted = upsample_logits(chosen, (size, size))[:, 0] > 0
            losses.append(float(loss))
            dices.append(_mean_dice(predicted, targets[:, 0]))
        if step < plan.corrections:
            dialogue.correct(predicted.numpy(), chosen)
    if embeddings.requires_grad:
        torch.autograd.backward(embeddings, leaf.grad)
    return BatchResult(tuple(losses), tuple(dices))


def _best_candidate_loss(
    low_res: Tensor, iou: Tensor, targets: Tensor, size: int, weights: LossWeights
) -> tuple[Tensor, Tensor]:
    """Loss of each row's best candidate, plus the IoU loss of all; and which one users would see.

    Args:
        low_res: (R, M, 64, 64) logits.
        iou: (R, M) predicted.
        targets: (R, 1, size, size).
        size: edge length at which masks are compared.
        weights: of the parts of the loss.
    """
    rows, candidates = iou.shape
    logits = upsample_logits(low_res, (size, size)).flatten(0, 1)
    repeated = targets.expand(rows, candidates, size, size).flatten(0, 1)
    terms = row_losses(logits[:, None], repeated[:, None], iou.flatten(), weights)
    mask_loss = (weights.focal * terms.focal + weights.dice * terms.dice).view(rows, candidates)
    iou_loss = terms.iou.view(rows, candidates).mean(dim=1)
    loss = (mask_loss.min(dim=1).values + weights.iou * iou_loss).mean()
    return loss, iou.detach().argmax(dim=1)


def _mean_dice(predicted: Tensor, targets: Tensor) -> float:
    overlap = (predicted & targets).flatten(1).sum(dim=1)
    size = predicted.flatten(1).sum(dim=1) + targets.flatten(1).sum(dim=1)
    return float((2 * overlap / size.clamp(min=1)).mean())


def _autocast(dtype: torch.dtype | None) -> torch.autocast:
    return torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None)

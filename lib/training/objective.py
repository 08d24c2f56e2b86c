"""What one step of an interaction is to make small: a loss of masks and predicted IoUs.

Both objectives see all masks of the decoder and choose among them; which one a user would see is
decided by the predicted IoUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from lib.networks.sam import AdapterSam, choose_best, upsample_logits
from lib.training.losses import DEFAULT_WEIGHTS, LossWeights, published_loss, row_losses


class Objective(Protocol):
    """A loss of one step.

    Args:
        low_res: (R, M, 64, 64) logits.
        iou: (R, M) predicted.
        targets: (R, S, S) bool.
    """

    def __call__(self, low_res: Tensor, iou: Tensor, targets: Tensor) -> Tensor:
        """The loss, a scalar: a mean over rows."""


@dataclass(frozen=True)
class PublishedObjective:
    """SAM-Med2D's: the mask with the highest predicted IoU, sums over the whole batch.

    Attributes:
        weights: of focal, dice and IoU loss.
    """

    weights: LossWeights = DEFAULT_WEIGHTS

    def __call__(self, low_res: Tensor, iou: Tensor, targets: Tensor) -> Tensor:
        """Compare at the full size of the targets."""
        chosen, predicted_iou = choose_best(low_res, iou)
        size = (targets.shape[-2], targets.shape[-1])
        logits = upsample_logits(chosen, size)
        return published_loss(logits, targets[:, None].float(), predicted_iou, self.weights).total


@dataclass(frozen=True)
class RowObjective:
    """Ours: each row counts as a row, its best mask learns most, every predicted IoU learns.

    The best mask is the one with the smallest loss, as in SAM (Kirillov et al. 2023, arXiv:
    2304.02643, section 3): so the candidates stay different answers to an ambiguous click. Where a
    network is trained for objects of one kind there is one right answer, and the others should
    come near it as well, because at first the predicted IoU does not tell which one is right.

    Attributes:
        weights: of focal, dice and IoU loss.
        size: edge length in pixels at which masks are compared; a divisor of the targets' size.
            A pixel of it is as much of the target as the mean of those it stands for: one of them
            taken alone would shift all masks by half a pixel, which is a twentieth of the Dice of
            an object of 16 pixels.
        all_share: what the mean over all masks counts, 0..1; the best one counts the rest.
        single_share: what the decoder's single mask counts by itself where it stands in front of
            the candidates, 0..1; all masks together count the rest.
    """

    weights: LossWeights = DEFAULT_WEIGHTS
    size: int = 128
    all_share: float = 0.0
    single_share: float = 0.0

    def __call__(self, low_res: Tensor, iou: Tensor, targets: Tensor) -> Tensor:
        """Compare at ``size``."""
        rows, candidates = iou.shape
        truth = functional.avg_pool2d(targets[:, None].float(), targets.shape[-1] // self.size)
        logits = upsample_logits(low_res, (self.size, self.size)).flatten(0, 1)
        repeated = truth.expand(rows, candidates, self.size, self.size).flatten(0, 1)
        terms = row_losses(logits[:, None], repeated[:, None], iou.flatten(), self.weights)
        masks = self.weights.focal * terms.focal + self.weights.dice * terms.dice
        masks = masks.view(rows, candidates)
        learned = torch.lerp(masks.min(dim=1).values, masks.mean(dim=1), self.all_share)
        learned = torch.lerp(learned, masks[:, 0], self.single_share)
        return (learned + self.weights.iou * terms.iou.view(rows, candidates).mean(dim=1)).mean()


@torch.no_grad()
def shown_masks(
    model: AdapterSam, low_res: Tensor, iou: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """What a user would see of a step.

    Args:
        model: whose answer it is.
        low_res: (R, M, 64, 64) logits.
        iou: (R, M) predicted.
        size: edge length S of the masks.

    Returns:
        Masks (R, S, S) bool and their logits (R, 1, 64, 64).
    """
    chosen, _ = model.shown(low_res.detach().float(), iou.detach())
    return upsample_logits(chosen, (size, size))[:, 0] > 0, chosen

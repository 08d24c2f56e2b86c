"""Losses of the interactive training: mask (focal, dice) and predicted IoU.

``published_loss`` is SAM-Med2D's own (Cheng et al. 2023, arXiv:2308.16184), sums over the whole
batch, float32 saturation included. ``default_loss`` is ours: the same three terms for each row on
its own, stable for any finite logit, with an IoU target that carries no gradient. ``dice_ce_loss``
is SAM-Med3D's, for volumes.

Shapes: ``logits`` and ``target`` (B, 1, H, W) or (B, H, W), the target with values 0 and 1, for
ours also the share of a pixel that the object covers; ``predicted_iou`` (B, 1) or (B,). All
arithmetic is float32, also under autocast.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2

_DICE_SMOOTH = 1.0
_DICE_CE_SMOOTH = 1e-5
_PUBLISHED_LOG_EPS = 1e-12
_PUBLISHED_IOU_EPS = 1e-7


@dataclass(frozen=True)
class LossWeights:
    """Weights of the three terms in the total; the defaults are SAM-Med2D's."""

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0


@dataclass(frozen=True)
class LossTerms:
    """A loss and its unweighted parts: scalars, or one value a row (B,) from ``row_losses``."""

    total: Tensor
    focal: Tensor
    dice: Tensor
    iou: Tensor

    def mean(self) -> LossTerms:
        """The mean over rows of every part."""
        return LossTerms(self.total.mean(), self.focal.mean(), self.dice.mean(), self.iou.mean())


DEFAULT_WEIGHTS = LossWeights()


# --- ours ---------------------------------------------------------------------------------------


def default_loss(
    logits: Tensor, target: Tensor, predicted_iou: Tensor, weights: LossWeights = DEFAULT_WEIGHTS
) -> LossTerms:
    """Our loss: the mean of ``row_losses``, so that a small object counts as much as a big one.

    Raises:
        ValueError: the shapes do not belong together.
    """
    return row_losses(logits, target, predicted_iou, weights).mean()


def row_losses(
    logits: Tensor, target: Tensor, predicted_iou: Tensor, weights: LossWeights = DEFAULT_WEIGHTS
) -> LossTerms:
    """Our loss for each row: every part of the result is (B,).

    Rows may also be the several masks of one prompt, to learn from the best of them only.

    Raises:
        ValueError: the shapes do not belong together.
    """
    flat_logits, flat_target, guessed = _rows(logits, target, predicted_iou)
    focal = focal_per_row(flat_logits, flat_target)
    dice = dice_per_row(flat_logits, flat_target)
    iou = (iou_of_masks(flat_logits, flat_target) - guessed).square()
    return LossTerms(_weighted(weights, focal, dice, iou), focal, dice, iou)


def focal_per_row(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss (Lin et al. 2017, arXiv:1708.02002) from logits, (B, N) -> mean over N, (B,).

    With z the logit towards the right answer: alpha_t * sigmoid(-z)^2 * softplus(-z), which
    neither overflows nor saturates; a wrong answer keeps its gradient however sure it is. A pixel
    that the object covers in part pulls less, and not at all where it is half of it.
    """
    # Arithmetic with targets of 0 and 1 is exact, and several times as fast as choosing by them.
    away = logits * (1.0 - 2.0 * target)
    alpha = (1.0 - FOCAL_ALPHA) - (1.0 - 2.0 * FOCAL_ALPHA) * target
    return (alpha * torch.sigmoid(away) ** FOCAL_GAMMA * functional.softplus(away)).mean(dim=1)


def dice_per_row(logits: Tensor, target: Tensor) -> Tensor:
    """Soft Dice loss 1 - (2 sum(pt) + 1) / (sum(p) + sum(t) + 1) of each row, (B, N) -> (B,)."""
    p = torch.sigmoid(logits)
    overlap = (p * target).sum(dim=1)
    size = p.sum(dim=1) + target.sum(dim=1)
    return 1.0 - (2.0 * overlap + _DICE_SMOOTH) / (size + _DICE_SMOOTH)


def iou_of_masks(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of the thresholded masks (logit > 0) of each row, (B, N) -> (B,); both empty: 1.0.

    This is what the IoU head must learn to say; comparisons carry no gradient.
    """
    # Counts of pixels are exact in float32 up to 16 million, and faster there than of booleans.
    mask = (logits.detach() > 0).float()
    intersection = (mask * target).sum(dim=1)
    union = mask.sum(dim=1) + target.sum(dim=1) - intersection
    return torch.where(union > 0, intersection / union.clamp(min=1.0), 1.0)


# --- SAM-Med2D's --------------------------------------------------------------------------------


def published_loss(
    logits: Tensor, target: Tensor, predicted_iou: Tensor, weights: LossWeights = DEFAULT_WEIGHTS
) -> LossTerms:
    """SAM-Med2D's loss: every sum runs over the whole batch; all parts are scalars.

    All rows share one soft IoU as the target of their predicted IoU, and it is not detached: the
    IoU term also pulls at the masks. In float32 the focal term of a mask that is surely wrong
    stops at -log(1e-12) = 27.6 and has no gradient there. Kept as published on purpose.

    Raises:
        ValueError: the shapes do not belong together.
    """
    flat_logits, flat_target, guessed = _rows(logits, target, predicted_iou)
    p, t = torch.sigmoid(flat_logits), flat_target
    focal = _published_focal(p, t)
    overlap, size = (p * t).sum(), p.sum() + t.sum()
    dice = 1.0 - (2.0 * overlap + _DICE_SMOOTH) / (size + _DICE_SMOOTH)
    shared_iou = (overlap + _PUBLISHED_IOU_EPS) / (size - overlap + _PUBLISHED_IOU_EPS)
    iou = (shared_iou - guessed).square().mean()
    return LossTerms(_weighted(weights, focal, dice, iou), focal, dice, iou)


def _published_focal(p: Tensor, t: Tensor) -> Tensor:
    positive = FOCAL_ALPHA * t * (1.0 - p) ** FOCAL_GAMMA * torch.log(p + _PUBLISHED_LOG_EPS)
    negative = (
        (1.0 - FOCAL_ALPHA) * (1.0 - t) * p**FOCAL_GAMMA * torch.log(1.0 - p + _PUBLISHED_LOG_EPS)
    )
    return -(positive.sum() + negative.sum()) / (t.numel() + _PUBLISHED_LOG_EPS)


# --- SAM-Med3D's --------------------------------------------------------------------------------


def dice_ce_loss(logits: Tensor, target: Tensor) -> Tensor:
    """SAM-Med3D's loss, a scalar: the mean over rows of `dice_ce_per_row`.

    It is MONAI's DiceCELoss(sigmoid=True, squared_pred=True), which fails on whole-numbered
    targets; any type is taken here.

    Args:
        logits: (B, 1, I, J, K) or (B, I, J, K).
        target: of the same shape, 0 and 1.

    Raises:
        ValueError: the shapes differ.
    """
    return dice_ce_per_row(logits, target).mean()


def dice_ce_per_row(logits: Tensor, target: Tensor) -> Tensor:
    """Soft Dice loss with squared sizes plus the mean cross-entropy of each row, (B,).

    Args:
        logits: (B, ...).
        target: of the same shape, 0 and 1, of any type.

    Raises:
        ValueError: the shapes differ.
    """
    if logits.shape != target.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} must have one shape"
        )
    z, t = logits.flatten(1).float(), target.flatten(1).float()
    p = torch.sigmoid(z)
    size = p.square().sum(dim=1) + t.square().sum(dim=1)
    overlap = 2.0 * (p * t).sum(dim=1)
    dice = 1.0 - (overlap + _DICE_CE_SMOOTH) / (size + _DICE_CE_SMOOTH)
    entropy = functional.binary_cross_entropy_with_logits(z, t, reduction="none").mean(dim=1)
    return dice + entropy


# --- shared -------------------------------------------------------------------------------------


def _weighted(weights: LossWeights, focal: Tensor, dice: Tensor, iou: Tensor) -> Tensor:
    return weights.focal * focal + weights.dice * dice + weights.iou * iou


def _rows(logits: Tensor, target: Tensor, predicted_iou: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (B, N), target (B, N) and predicted IoU (B,), all float32."""
    if logits.shape != target.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} must have one shape"
        )
    rows = logits.shape[0]
    if predicted_iou.numel() != rows:
        raise ValueError(
            f"predicted_iou {tuple(predicted_iou.shape)} must have {rows} values, one a row"
        )
    return logits.flatten(1).float(), target.flatten(1).float(), predicted_iou.reshape(rows).float()

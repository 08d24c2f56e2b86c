"""One interactive batch of volumes; the counterpart of `lib.training.loop`.

The encoder runs once a batch, the decoder once a step. Gradients of all steps are summed, and those
with respect to the embeddings go back through the encoder once. A mask prompt carries no gradient
into the step it came from (the original's does): steps can be gone through one after the other, and
memory does not grow with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lib.networks.sam3d import Sam3d, upsample_logits3d
from lib.training.annotator3d import Prompter3d
from lib.training.loop import BatchResult, autocast_on, mean_dice
from lib.training.losses import dice_ce_loss

CLICK_STRIDE = 2
"""Voxels of the cube for one of the grid on which losses and clicks are taken."""


@dataclass(frozen=True)
class Batch3d:
    """Cubes with the objects to segment in them.

    Attributes:
        volumes: (B, 1, S, S, S) float32, as the network sees them.
        targets: (R, S, S, S) bool, R objects in all.
        volume_of: (R,) index of each object's cube.
    """

    volumes: Tensor
    targets: NDArray[np.bool_]
    volume_of: Tensor

    def coarse(self) -> NDArray[np.bool_]:
        """The objects on the grid of clicks (R, S/2, S/2, S/2), none of them lost."""
        shares = _shares(self.targets)
        most = shares.flatten(1).max(dim=1).values.clamp(min=1e-6)
        # A thing that fills no coarse voxel by half is where it fills most of one.
        floor = torch.minimum(torch.full_like(most, 0.5), most)
        return (shares >= floor[:, None, None, None]).numpy()


def interact3d(
    model: Sam3d, batch: Batch3d, prompter: Prompter3d, autocast: torch.dtype | None = None
) -> BatchResult:
    """Run one simulated interaction; its gradients are left in the parameters.

    Args:
        model: in training mode; parameters with ``requires_grad`` receive gradients.
        batch: cubes and objects.
        prompter: the simulated annotator of ``batch.coarse()``.
        autocast: reduced precision of encoder and decoder (torch.bfloat16), None for float32.
    """
    device = next(model.parameters()).device
    with autocast_on(device, autocast):
        embeddings = model.encode(batch.volumes.to(device))
    embeddings = embeddings.float()
    leaf = embeddings.detach().requires_grad_(embeddings.requires_grad)
    shares = _shares(batch.targets).to(device)
    volume_of = batch.volume_of.to(device)
    prompts = prompter.first()
    losses: list[float] = []
    dices: list[float] = []
    for step in range(prompter.steps):
        with autocast_on(device, autocast):
            low_res, _ = model.decode(leaf[volume_of], prompts.to(device))
        logits = upsample_logits3d(low_res.float(), shares.shape[-1])[:, 0]
        loss = dice_ce_loss(logits, shares)
        torch.autograd.backward(loss / prompter.steps)
        masks = logits.detach() > 0
        losses.append(float(loss.detach()))
        dices.append(mean_dice(masks, shares > 0.5))
        if step < prompter.steps - 1:
            covered = (logits.detach() > prompter.threshold).cpu().numpy()
            prompts = prompter.correct(covered, low_res.detach().float().cpu())
    if leaf.grad is not None:
        torch.autograd.backward(embeddings, leaf.grad)
    return BatchResult(tuple(losses), tuple(dices))


def _shares(targets: NDArray[np.bool_]) -> Tensor:
    """How much of each coarse voxel is the object, (R, S/2, S/2, S/2) in 0..1."""
    whole = torch.from_numpy(np.ascontiguousarray(targets)).float()
    return functional.avg_pool3d(whole, CLICK_STRIDE)

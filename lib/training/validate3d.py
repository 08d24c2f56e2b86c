"""How well a network for volumes follows a simulated user in single cubes, without a server.

Whole volumes on their own grids, as a user sees them, are measured by
`lib.training.evaluate_volume`; this is the quick measure of a training run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lib.data.windows3d import Window3d
from lib.networks.sam3d import PromptTensors3d, Sam3d, upsample_logits3d
from lib.prompts.simulate3d import NO_VOXEL, Voxel, interior_voxel, next_voxel

CLICKS = 10


@torch.no_grad()
def click_dice3d(
    model: Sam3d, windows: Sequence[Window3d], clicks: int = CLICKS
) -> NDArray[np.float64]:
    """Dice of each object after 1, 2, ... clicks, (objects, clicks).

    The first click is the innermost voxel of the object, each next one that of the largest mistake;
    clicks accumulate and the last logits are the mask prompt. Nothing is random.

    Args:
        model: in evaluation mode.
        windows: cubes of the network's edge.
        clicks: of each object.
    """
    rows = []
    for window in windows:
        volume = torch.from_numpy(window.volume)[None, None]
        embedding = model.encode(volume.to(next(model.parameters()).device))
        rows += [_chain(model, embedding, mask, clicks) for mask in window.masks]
    return np.array(rows, np.float64).reshape(-1, clicks)


def _chain(
    model: Sam3d, embedding: torch.Tensor, target: NDArray[np.bool_], clicks: int
) -> list[float]:
    """Dice of one object (S, S, S) after each click."""
    given: list[Voxel] = [interior_voxel(target)]
    size = model.config.low_res_size
    low_res = torch.zeros(1, 1, size, size, size)
    scores = []
    for _ in range(clicks):
        points = torch.tensor([[voxel.index for voxel in given]], dtype=torch.float32)
        labels = torch.tensor([[voxel.label for voxel in given]])
        prompts = PromptTensors3d(points, labels, low_res).to(embedding.device)
        low_res = model.decode(embedding, prompts)[0].float().cpu()
        mask = (upsample_logits3d(low_res, target.shape[0])[0, 0] > 0).numpy()
        both, sizes = np.count_nonzero(mask & target), mask.sum() + target.sum()
        scores.append(2 * both / max(int(sizes), 1))
        voxel = next_voxel(mask, target)
        if voxel != NO_VOXEL:
            given.append(voxel)
    return scores

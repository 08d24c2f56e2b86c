"""Prompts of a volume drawn as maps; see `lib.networks.prompt_maps` for the reasons."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.networks.architectures3d import Architecture3d
from lib.networks.conv3d import Conv3d
from lib.networks.prompt_encoder3d import PromptEncoder3d

SIGMAS = (1.0, 4.0)
"""Of the spots drawn for a click, in voxels of the map: the place, and its surroundings."""
CHANNELS = 2 * len(SIGMAS) + 1
NARROW = [0, len(SIGMAS)]
"""Channels of the narrow spots of foreground and of background clicks."""
FOREGROUND, BACKGROUND = 1, 0
_WIDTH = 24


class MapPromptEncoder3d(PromptEncoder3d):
    """The prompt encoder, and a few convolutions from maps to its dense embedding.

    Args:
        architecture: sizes.
    """

    def __init__(self, architecture: Architecture3d) -> None:
        super().__init__(architecture)
        self.maps = nn.Sequential(
            Conv3d(CHANNELS, _WIDTH, 3, stride=2, padding=1),
            nn.GELU(),
            Conv3d(_WIDTH, 2 * _WIDTH, 3, stride=2, padding=1),
            nn.GELU(),
            Conv3d(2 * _WIDTH, architecture.prompt_dim, 1),
        )

    def draw(self, points: Tensor | None, labels: Tensor | None, masks: Tensor | None) -> Tensor:
        """Draw R rows of prompts, of which at least one kind is given.

        Args:
            points: (R, N, 3); this and the next two as in `lib.networks.sam3d.PromptTensors3d`.
            labels: (R, N).
            masks: (R, 1, L, L, L).

        Returns:
            (R, CHANNELS, L, L, L): spots of foreground clicks for each of `SIGMAS`, then of
            background clicks, in 0..1; the last mask, from -1 to 1, 0 where there is none.
        """
        size = self.config.low_res_size
        given = next(t for t in (masks, points) if t is not None)
        maps = given.new_zeros(len(given), CHANNELS, size, size, size, dtype=torch.float32)
        if points is not None and labels is not None:
            maps[:, :-1] = _spots(points, labels, size, size / self.config.image_size)
        if masks is not None:
            maps[:, -1] = torch.tanh(masks[:, 0].float() / 2.0)
        return maps


def _spots(points: Tensor, labels: Tensor, size: int, scale: float) -> Tensor:
    """Clicks (R, N, 3) in voxels of the network's cube as (R, CHANNELS - 1, L, L, L)."""
    places = torch.arange(size, device=points.device, dtype=torch.float32)
    away = places - ((points.float() + 0.5) * scale - 0.5)[..., None]
    drawn = []
    for kind in (FOREGROUND, BACKGROUND):
        counted = (labels == kind)[..., None]
        for sigma in SIGMAS:
            d, h, w = torch.exp(away.square() / (-2 * sigma**2)).unbind(dim=2)
            drawn.append(torch.einsum("rnd,rnh,rnw->rndhw", d * counted, h, w).amax(dim=1))
    return torch.stack(drawn, dim=1)

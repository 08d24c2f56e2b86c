"""SAM-Med3D's prompt encoder: clicks as tokens, a mask as a dense embedding."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from lib.networks.architectures3d import Architecture3d
from lib.networks.encoder3d import LayerNorm3d

PADDING = -1
"""Label of a point that says nothing."""


class Positions3d(nn.Module):
    """Random Fourier features of places: [sin, cos, sin] of a third of the channels each.

    Args:
        features: of one third.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.positional_encoding_gaussian_matrix: Tensor
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(3, features))

    def forward(self, places: Tensor) -> Tensor:
        """Encode places (..., 3) in 0..1 as (..., 3 features)."""
        turns = (2.0 * places - 1.0) @ self.positional_encoding_gaussian_matrix
        angles = 2.0 * math.pi * turns
        return torch.cat([angles.sin(), angles.cos(), angles.sin()], dim=-1)


class PromptEncoder3d(nn.Module):
    """Tokens and dense embedding of prompts; boxes are not known to it.

    Args:
        architecture: sizes, and which axis is which in `get_dense_pe`.
    """

    def __init__(self, architecture: Architecture3d) -> None:
        super().__init__()
        dim, mask = architecture.prompt_dim, architecture.mask_channels
        self.config = architecture
        self.pe_layer = Positions3d(dim // 3)
        # Background, foreground.
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(2))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv3d(1, mask // 4, kernel_size=2, stride=2),
            LayerNorm3d(mask // 4),
            nn.GELU(),
            nn.Conv3d(mask // 4, mask, kernel_size=2, stride=2),
            LayerNorm3d(mask),
            nn.GELU(),
            nn.Conv3d(mask, dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, dim)

    def get_dense_pe(self) -> Tensor:
        """Positions of the embedding's cells, (1, C, g, g, g).

        The published weights saw the first two axes swapped here and not in the clicks.
        """
        grid = self.config.grid_size
        device = self.pe_layer.positional_encoding_gaussian_matrix.device
        centres = (torch.arange(grid, device=device, dtype=torch.float32) + 0.5) / grid
        axes = list(torch.meshgrid(centres, centres, centres, indexing="ij"))
        if self.config.dense_encoding == "released":
            axes[:2] = axes[1::-1]
        encoded: Tensor = self.pe_layer(torch.stack(axes, dim=-1))
        return encoded.movedim(-1, 0)[None]

    def forward(
        self, points: Tensor | None, labels: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Encode R rows of prompts; see `lib.networks.sam3d.PromptTensors3d`.

        Returns:
            Tokens (R, N + 1, C), none without points, and dense embedding (R, C, g, g, g).
        """
        rows = len(next(t for t in (points, masks) if t is not None))
        if points is None or labels is None:
            sparse = self.no_mask_embed.weight.new_zeros(rows, 0, self.config.prompt_dim)
        else:
            sparse = self._tokens(points, labels)
        if masks is not None:
            dense: Tensor = self.mask_downscaling(masks)
        else:
            dense = self.no_mask_embed.weight.reshape(1, -1, 1, 1, 1)
            dense = dense.expand(rows, -1, *3 * (self.config.grid_size,))
        return sparse, dense

    def _tokens(self, points: Tensor, labels: Tensor) -> Tensor:
        """Points (R, N, 3) with labels (R, N) as tokens (R, N + 1, C), the last one padding."""
        encoded = self.pe_layer((points.float() + 0.5) / self.config.image_size)
        encoded = nn.functional.pad(encoded, (0, 0, 0, 1))
        kinds = nn.functional.pad(labels, (0, 1), value=PADDING)[..., None]
        tokens = torch.where(kinds == PADDING, self.not_a_point_embed.weight, encoded)
        for label, embedding in enumerate(self.point_embeddings):
            tokens = tokens + (kinds == label) * cast(nn.Embedding, embedding).weight
        return tokens

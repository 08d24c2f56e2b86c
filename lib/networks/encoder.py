"""The image encoder: SAM's ViT with an adapter in every block."""

from __future__ import annotations

from functools import partial

import torch
from segment_anything.modeling.image_encoder import (
    Block,
    ImageEncoderViT,
    window_partition,
    window_unpartition,
)
from torch import nn

from lib.networks.adapters import SamMed2dAdapter
from lib.networks.architectures import Architecture
from lib.networks.stem import ConvStem

BLOCK_NORM = partial(nn.LayerNorm, eps=1e-6)


class AdapterBlock(Block):  # type: ignore[misc]
    """A ViT block of SAM with an adapter parallel to its MLP (SAM-Med2D, figure 4).

    ``out = x + mlp(n) + Adapter(n)`` where x is the block's attention output and n = norm2(x).
    The attribute is spelt ``Adapter`` because the published state dict says so. With
    ``use_adapter = False`` the block is SAM's own.
    """

    def __init__(
        self, dim: int, num_heads: int, window_size: int, input_size: tuple[int, int]
    ) -> None:
        super().__init__(
            dim=dim,
            num_heads=num_heads,
            norm_layer=BLOCK_NORM,
            use_rel_pos=True,
            window_size=window_size,
            input_size=input_size,
        )
        self.Adapter = SamMed2dAdapter(dim)
        self.use_adapter = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map tokens (B, H, W, C) to tokens of the same shape."""
        x = x + self._attend(self.norm1(x))
        normalised = self.norm2(x)
        x = x + self.mlp(normalised)
        return x + self.Adapter(normalised) if self.use_adapter else x

    def _attend(self, tokens: torch.Tensor) -> torch.Tensor:
        """Attention over the whole grid, or inside zero-padded windows."""
        if self.window_size == 0:
            attended: torch.Tensor = self.attn(tokens)
            return attended
        grid = (tokens.shape[1], tokens.shape[2])
        windows, padded = window_partition(tokens, self.window_size)
        merged: torch.Tensor = window_unpartition(
            self.attn(windows), self.window_size, padded, grid
        )
        return merged


class DetailEncoder(ImageEncoderViT):  # type: ignore[misc]
    """SAM's ViT behind a convolutional stem; ``patch_embed`` is a `ConvStem`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map normalised images (B, 3, S, S) to (B, embedding_channels, S/16, S/16)."""
        tokens, details = self.patch_embed(x)
        tokens = tokens + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        return torch.cat([self.neck(tokens.permute(0, 3, 1, 2)), details], dim=1)


def build_image_encoder(architecture: Architecture) -> ImageEncoderViT:
    """Build the encoder with untrained weights.

    It maps images (B, 3, S, S) to (B, embedding_channels, S/16, S/16).
    """
    stem = architecture.stem
    encoder = (ImageEncoderViT if stem is None else DetailEncoder)(
        img_size=architecture.image_size,
        patch_size=architecture.patch_size,
        embed_dim=architecture.embed_dim,
        depth=0,  # the blocks come below: SAM's own would be built only to be replaced
        out_chans=architecture.prompt_dim,
        norm_layer=BLOCK_NORM,
    )
    if stem is not None:
        encoder.patch_embed = ConvStem(stem, architecture.embed_dim, architecture.detail_channels)
    grid = (architecture.grid_size, architecture.grid_size)
    for index in range(architecture.depth):
        window = 0 if index in architecture.global_attention else architecture.window_size
        encoder.blocks.append(
            AdapterBlock(architecture.embed_dim, architecture.num_heads, window, grid)
        )
    return encoder

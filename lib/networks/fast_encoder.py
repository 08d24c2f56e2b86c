"""The image encoder with the same result and a third of the arithmetic.

SAM pads windows of tokens to 14 x 14, and two tokens of three are padding at 256 pixels
(`lib.networks.fast_attention`); its adapters are convolutions, which reorder their weights for
each image (`lib.networks.fast_adapter`). Here neither happens. The same modules serve to answer
clicks, with constants computed once, and to train (`lib.networks.training_encoder`).
"""

from __future__ import annotations

import torch
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from lib.networks.encoder import AdapterBlock
from lib.networks.fast_adapter import FastAdapter, Scratch, TrainableAdapter
from lib.networks.fast_attention import FastAttention
from lib.networks.medsa import MLP_SCALE, attend_along_depth
from lib.networks.stem import ConvStem


class FastEncoder(nn.Module):
    """Computes what an image encoder with adapters computes, from the same parameters.

    Args:
        encoder: from `lib.networks.encoder.build_image_encoder`; its parameters are shared, not
            copied, and must not change afterwards unless ``trainable``.
        trainable: compute everything from the parameters at each call, so that they may change
            and receive gradients; otherwise what depends on parameters alone is computed once.
    """

    def __init__(self, encoder: ImageEncoderViT, trainable: bool = False) -> None:
        super().__init__()
        self.patch_embed = encoder.patch_embed
        self.pos_embed: nn.Parameter = encoder.pos_embed
        grid, scratch = encoder.pos_embed.shape[1], Scratch() if trainable else None
        self.blocks = nn.ModuleList(FastBlock(block, grid, scratch) for block in encoder.blocks)
        self.neck = encoder.neck

    def forward(self, images: torch.Tensor, depth: int = 1) -> torch.Tensor:
        """Map normalised images (B, 3, S, S) to embeddings (B, C, S/16, S/16).

        Args:
            images: slabs of slices behind each other.
            depth: slices of a slab; more than one needs Med-SA's adapters.
        """
        tokens, details = self._tokens(images)
        tokens = tokens + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens, depth)
        embeddings: torch.Tensor = self.neck(tokens.permute(0, 3, 1, 2))
        return embeddings if details is None else torch.cat([embeddings, details], dim=1)

    def _tokens(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        if isinstance(self.patch_embed, ConvStem):
            tokens, details = self.patch_embed(images)
            return tokens, details
        return self.patch_embed(images), None


class FastBlock(nn.Module):
    """One `AdapterBlock` on real tokens only.

    Args:
        block: whose parameters are used.
        grid: tokens along one edge of the grid.
        scratch: of the encoder, where it is ``trainable``; else None.
    """

    def __init__(self, block: AdapterBlock, grid: int, scratch: Scratch | None = None) -> None:
        super().__init__()
        self.norm1 = block.norm1
        self.norm2 = block.norm2
        trainable = scratch is not None
        self.attention = FastAttention(block.attn, block.window_size, grid, trainable)
        self.mlp = block.mlp
        self.space = block.Space_Adapter
        self.along = block.Depth_Adapter
        self.whole_attention = None if self.along is None else block.attn
        self.beside = block.MLP_Adapter
        self.adapter: nn.Module | None = None
        if block.use_adapter and block.Adapter is not None:
            adapter = block.Adapter
            self.adapter = TrainableAdapter(adapter, scratch) if scratch else FastAdapter(adapter)

    def forward(self, x: torch.Tensor, depth: int = 1) -> torch.Tensor:
        """Map tokens (B, H, W, C) to tokens of the same shape; see `AdapterBlock`."""
        normalised = self.norm1(x)
        attended = self.attention(normalised)
        if self.space is not None:
            attended = self.space(attended)
        if depth > 1:
            assert self.along is not None
            attended = attended + self.along(
                attend_along_depth(self.whole_attention, normalised, depth)
            )
        x = x + attended
        normalised = self.norm2(x)
        x = x + self.mlp(normalised)
        if self.adapter is not None:
            x = x + self.adapter(normalised)
        return x if self.beside is None else x + MLP_SCALE * self.beside(normalised)

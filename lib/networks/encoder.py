"""The image encoder: SAM's ViT with adapters in every block."""

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
from lib.networks.architectures import AdapterKind, Architecture
from lib.networks.medsa import MLP_SCALE, MedSaAdapter, attend_along_depth
from lib.networks.stem import ConvStem

BLOCK_NORM = partial(nn.LayerNorm, eps=1e-6)


class AdapterBlock(Block):  # type: ignore[misc]
    """A ViT block of SAM with adapters.

    With a the attention's output and n = norm2(x + a), SAM-Med2D (figure 4) has
    ``x + a + mlp(n) + Adapter(n)``; Med-SA (figure 2) puts ``Space_Adapter`` behind the attention,
    ``Depth_Adapter`` behind that along depth, and ``MLP_Adapter`` beside the MLP. The attributes
    are spelt as in the published state dicts. With ``use_adapter = False`` SAM-Med2D's is left out.

    Args:
        dim: channels C of the tokens.
        num_heads: of the attention.
        window_size: tokens along one edge of a window, 0 for the whole grid.
        input_size: tokens of the grid, rows and columns.
        adapters: whose; `None` stands where an adapter would.
        ratio: see `lib.networks.medsa.MedSaAdapter`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int,
        input_size: tuple[int, int],
        adapters: tuple[AdapterKind, ...] = ("samed2d",),
        ratio: float = 0.25,
    ) -> None:
        super().__init__(
            dim=dim,
            num_heads=num_heads,
            norm_layer=BLOCK_NORM,
            use_rel_pos=True,
            window_size=window_size,
            input_size=input_size,
        )
        self.use_adapter = "samed2d" in adapters
        self.Adapter = SamMed2dAdapter(dim) if self.use_adapter else None
        medsa = "medsa" in adapters
        self.Space_Adapter = MedSaAdapter(dim, ratio) if medsa else None
        self.Depth_Adapter = MedSaAdapter(dim, ratio, skip_connect=False) if medsa else None
        self.MLP_Adapter = MedSaAdapter(dim, ratio, skip_connect=False) if medsa else None

    def forward(self, x: torch.Tensor, depth: int = 1) -> torch.Tensor:
        """Map tokens (B, H, W, C) to tokens of the same shape.

        Args:
            x: tokens.
            depth: slices of a slab; more than one needs a ``Depth_Adapter``, and B is a multiple.
        """
        normalised = self.norm1(x)
        attended = self._attend(normalised)
        if self.Space_Adapter is not None:
            attended = self.Space_Adapter(attended)
        if depth > 1:
            assert self.Depth_Adapter is not None
            along = attend_along_depth(self.attn, normalised, depth)
            attended = attended + self.Depth_Adapter(along)
        x = x + attended
        normalised = self.norm2(x)
        x = x + self.mlp(normalised)
        if self.use_adapter and self.Adapter is not None:
            x = x + self.Adapter(normalised)
        return x if self.MLP_Adapter is None else x + MLP_SCALE * self.MLP_Adapter(normalised)

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
        embeddings: torch.Tensor = self.neck(tokens.permute(0, 3, 1, 2))
        return embeddings if details is None else torch.cat([embeddings, details], dim=1)


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
            AdapterBlock(
                architecture.embed_dim,
                architecture.num_heads,
                window,
                grid,
                architecture.adapters,
                architecture.adapter_ratio,
            )
        )
    return encoder

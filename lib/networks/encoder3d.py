"""The encoder of volumes: SAM-Med3D's ViT, and one behind a convolutional stem."""

from __future__ import annotations

import torch
from segment_anything.modeling.common import MLPBlock
from torch import Tensor, nn
from torch.nn import functional

from lib.networks.architectures3d import Architecture3d, Positions
from lib.networks.attention3d import Attention3d
from lib.networks.conv3d import Conv3d
from lib.networks.stem3d import ConvStem3d

_EPS = 1e-6
_MLP_RATIO = 4


class LayerNorm3d(nn.Module):
    """Normalises over channels at each voxel.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, d, h, w) to the same shape."""
        return self.last(x.movedim(1, -1)).movedim(-1, 1)

    def last(self, x: Tensor) -> Tensor:
        """Map (..., C) to the same shape."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, _EPS)


class Block3d(nn.Module):
    """A ViT block on a cube of tokens, pre-norm as SAM's.

    Args:
        dim: channels C of the tokens.
        num_heads: heads of the attention.
        window: tokens along one edge of the windows it attends in, 0 for the whole grid.
        grid: tokens along one edge of the grid.
        positions: see `Attention3d`.
    """

    def __init__(
        self, dim: int, num_heads: int, window: int, grid: int, positions: Positions
    ) -> None:
        super().__init__()
        self.window = window or grid
        self.norm1 = nn.LayerNorm(dim, eps=_EPS)
        self.attn = Attention3d(dim, num_heads, self.window, positions)
        self.norm2 = nn.LayerNorm(dim, eps=_EPS)
        self.mlp = MLPBlock(dim, _MLP_RATIO * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, n, n, n, C) to tokens of the same shape."""
        x = x + self._attend(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x

    def _attend(self, tokens: Tensor) -> Tensor:
        """Attention in one window, whose padding is summed up, or in several, padded with zeros."""
        side, window = tokens.shape[1], self.window
        if side <= window:
            attended: Tensor = self.attn(tokens)
            return attended
        lacking = -side % window
        padded = functional.pad(tokens, (0, 0) + 3 * (0, lacking))
        batch, channels, parts = len(tokens), tokens.shape[-1], padded.shape[1] // window
        cut = padded.reshape(batch, parts, window, parts, window, parts, window, channels)
        windows = cut.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, window, window, window, channels)
        merged = self.attn(windows).reshape(batch, *3 * (parts,), *3 * (window,), channels)
        whole: Tensor = merged.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(padded.shape)
        return whole[:, :side, :side, :side]


class PatchEmbed3d(nn.Module):
    """One projection of cubes of voxels.

    Args:
        patch: voxels along one edge.
        dim: channels C of the tokens.
    """

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(1, dim, kernel_size=patch, stride=patch)

    def forward(self, volumes: Tensor) -> Tensor:
        """Map cubes (B, 1, S, S, S) to tokens (B, S/patch, S/patch, S/patch, C)."""
        # Patches do not overlap: one matrix product, which a CPU does faster than a convolution.
        size = self.proj.kernel_size[0]
        batch, grid = len(volumes), volumes.shape[-1] // size
        cells = volumes.reshape(batch, grid, size, grid, size, grid, size)
        patches = cells.permute(0, 1, 3, 5, 2, 4, 6).reshape(batch, grid, grid, grid, size**3)
        return functional.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class ImageEncoder3d(nn.Module):
    """ViT over patches of a cube; with a stem in the architecture, over what it makes of them.

    Args:
        architecture: sizes.
    """

    def __init__(self, architecture: Architecture3d) -> None:
        super().__init__()
        dim, grid = architecture.embed_dim, architecture.grid_size
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, grid, dim))
        self.patch_embed: nn.Module
        if architecture.stem is None:
            self.patch_embed = PatchEmbed3d(architecture.patch_size, dim)
        else:
            self.patch_embed = ConvStem3d(architecture.stem, dim, architecture.detail_channels)
        self.blocks = nn.ModuleList(
            Block3d(
                dim,
                architecture.num_heads,
                0 if index in architecture.global_attention else architecture.window_size,
                grid,
                architecture.relative_position,
            )
            for index in range(architecture.depth)
        )
        out = architecture.prompt_dim
        self.neck = nn.Sequential(
            Conv3d(dim, out, kernel_size=1, bias=False),
            LayerNorm3d(out),
            Conv3d(out, out, kernel_size=3, padding=1, bias=False),
            LayerNorm3d(out),
        )

    def forward(self, volumes: Tensor) -> Tensor:
        """Map cubes (B, 1, S, S, S) to (B, embedding_channels, S/16, S/16, S/16)."""
        tokens, details = self.patch_embed(volumes), None
        if isinstance(self.patch_embed, ConvStem3d):
            tokens, details = tokens
        tokens = tokens + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        embeddings: Tensor = self.neck(tokens.movedim(-1, 1))
        return embeddings if details is None else torch.cat([embeddings, details], dim=1)

"""The convolutional stem of `lib.networks.stem` for volumes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.networks.conv3d import Conv3d

DETAIL_STRIDE = 4
"""Voxels of the cube for one of the details; that of low-resolution masks."""
_GROUP = 12
_LIMIT = 3.0
"""Standard scores that no voxel exceeds."""


class ConvStem3d(nn.Module):
    """Cube to tokens in four halvings, with the details that are left after the second.

    Args:
        widths: channels after the first, second and third halving.
        dim: channels C of the tokens.
        detail_channels: channels K of the details; the first one is the volume itself, averaged.
    """

    def __init__(self, widths: tuple[int, int, int], dim: int, detail_channels: int) -> None:
        super().__init__()
        half, quarter, eighth = widths
        self.to_half = _halve(1, half)
        self.to_quarter = nn.Sequential(_halve(half, quarter), Residual3d(quarter))
        self.to_eighth = nn.Sequential(_halve(quarter, eighth), Residual3d(eighth))
        self.to_tokens = Conv3d(eighth, dim, 3, stride=2, padding=1)
        self.to_details = Conv3d(quarter, detail_channels - 1, 1)

    def forward(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """Map cubes (B, 1, S, S, S) to tokens and details.

        Returns:
            Tokens (B, S/16, S/16, S/16, C) and packed details (B, 64 K, S/16, S/16, S/16), see
            `unpack3d`.
        """
        # Air and metal are many deviations away from tissue, whose differences count.
        volumes = _LIMIT * torch.tanh(volumes / _LIMIT)
        quarter = self.to_quarter(self.to_half(volumes))
        tokens = self.to_tokens(self.to_eighth(quarter))
        plain = functional.avg_pool3d(volumes, DETAIL_STRIDE)
        details = torch.cat([plain.to(quarter.dtype), self.to_details(quarter)], dim=1)
        return tokens.movedim(1, -1), pack3d(details)


class Residual3d(nn.Module):
    """Two 3 x 3 x 3 convolutions beside the identity, (B, C, d, h, w) to the same shape.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(channels // _GROUP, channels)
        self.first = Conv3d(channels, channels, 3, padding=1)
        self.second = Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions see."""
        seen: Tensor = self.second(functional.gelu(self.first(self.norm(x))))
        return x + seen


def pack3d(details: Tensor) -> Tensor:
    """Details (B, K, 4d, 4h, 4w) beside an embedding: as (B, 64 K, d, h, w)."""
    n = DETAIL_STRIDE
    batch, channels, *sizes = details.shape
    d, h, w = (size // n for size in sizes)
    cells = details.reshape(batch, channels, d, n, h, n, w, n)
    return cells.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, channels * n**3, d, h, w)


def unpack3d(packed: Tensor) -> Tensor:
    """What `pack3d` packed, (B, K, 4d, 4h, 4w)."""
    n = DETAIL_STRIDE
    batch, channels, d, h, w = packed.shape
    cells = packed.reshape(batch, channels // n**3, n, n, n, d, h, w)
    return cells.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(batch, -1, n * d, n * h, n * w)


def _halve(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        Conv3d(channels, width, 3, stride=2, padding=1),
        nn.GroupNorm(width // _GROUP, width),
        nn.GELU(),
    )

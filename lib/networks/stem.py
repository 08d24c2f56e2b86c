"""A convolutional stem for compact encoders, which also keeps the details that tokens lose."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

DETAIL_STRIDE = 4
"""Pixels of the image for one of the details; that of SAM's low-resolution masks."""
_GROUP = 12


class ConvStem(nn.Module):
    """Image to tokens in four halvings, as convolutional networks do it.

    One projection of 16 x 16 pixels, as a plain ViT has, must learn edges of every direction and
    place from data; a few convolutions know from the start that they are alike everywhere (Xiao et
    al. 2021, arXiv:2106.14881), which is most of what a small network can learn in short time.

    Args:
        widths: channels after the first, second and third halving.
        dim: channels C of the tokens.
        detail_channels: channels K of the details, taken after the second halving; 0 keeps none.
    """

    def __init__(self, widths: tuple[int, int, int], dim: int, detail_channels: int) -> None:
        super().__init__()
        half, quarter, eighth = widths
        self.to_half = _halve(3, half)
        self.to_quarter = nn.Sequential(_halve(half, quarter), Residual(quarter))
        self.to_eighth = nn.Sequential(_halve(quarter, eighth), Residual(eighth))
        self.to_tokens = nn.Conv2d(eighth, dim, 3, stride=2, padding=1)
        self.to_details = nn.Conv2d(quarter, detail_channels, 1) if detail_channels else None

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map normalised images (B, 3, S, S) to tokens and details.

        Returns:
            Tokens (B, S/16, S/16, C) and packed details (B, 16 K, S/16, S/16), see `unpack`, or
            None where none are kept.
        """
        quarter = self.to_quarter(self.to_half(images))
        tokens = self.to_tokens(self.to_eighth(quarter)).permute(0, 2, 3, 1)
        return tokens, None if self.to_details is None else pack(self.to_details(quarter))


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity, (B, C, h, w) to the same shape.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(channels // _GROUP, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what the convolutions see."""
        seen: torch.Tensor = self.second(functional.gelu(self.first(self.norm(x))))
        return x + seen


def pack(details: torch.Tensor) -> torch.Tensor:
    """Details (B, K, 4h, 4w) beside an embedding: as (B, 16 K, h, w)."""
    return functional.pixel_unshuffle(details, DETAIL_STRIDE)


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """What `pack` packed, (B, K, 4h, 4w)."""
    return functional.pixel_shuffle(packed, DETAIL_STRIDE)


def _halve(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=2, padding=1),
        nn.GroupNorm(width // _GROUP, width),
        nn.GELU(),
    )

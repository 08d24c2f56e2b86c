"""Adapters: small trainable layers added to the blocks of a frozen image encoder."""

from __future__ import annotations

import torch
from torch import nn


class SamMed2dAdapter(nn.Module):
    """The adapter of SAM-Med2D: channel attention, then a strided convolution and back.

    Runs beside a block's MLP on the same normalised tokens (SAM-Med2D, section 3.2, figure 4).
    Attribute names follow the published state dict (``channel``, ``spatial``, ``norm``).

    Args:
        dim: channels C of the tokens.
        reduction: C / reduction channels in the bottleneck of the channel attention.
        skip_connect: add the input to the convolved tokens before the last normalisation.

    The grid of tokens must have an even height and width: the convolution halves it and the
    transposed convolution doubles it again.
    """

    def __init__(self, dim: int, reduction: int = 4, skip_connect: bool = True) -> None:
        super().__init__()
        self.skip_connect = skip_connect
        # eps 1e-5, torch's default: not the 1e-6 of the blocks around it.
        self.norm = nn.LayerNorm(dim)
        self.channel = nn.Sequential(
            nn.Linear(dim, dim // reduction, bias=False),
            nn.ReLU(),
            nn.Linear(dim // reduction, dim, bias=False),
            nn.Sigmoid(),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(dim, dim, kernel_size=3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.ConvTranspose2d(dim, dim, kernel_size=4, stride=2, padding=1, bias=False),
            nn.ReLU(),
        )
        for parameter in (*self.channel.parameters(), *self.spatial.parameters()):
            nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens (B, H, W, C) to a correction of the same shape."""
        attention = self.channel(tokens.mean(dim=(1, 2)))
        grid = tokens.permute(0, 3, 1, 2)
        convolved = self.spatial(grid * attention[:, :, None, None]).permute(0, 2, 3, 1)
        result: torch.Tensor = self.norm(tokens + convolved if self.skip_connect else convolved)
        return result

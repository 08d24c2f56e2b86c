"""The adapter of SAM-Med2D with its convolutions as matrix products.

Every backend has a fast kernel for a matrix product; torch on a CPU reorders the weights of a
convolution for each image otherwise. There are two forms of the same arithmetic. To answer clicks,
the weights are reordered once, so that gathering and spreading pixels copies whole rows of
channels. To train, the weights stay where the optimiser changes them, and gradients reach them
without being reordered either: the weights are much larger than the few tokens of an image.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional

from lib.networks.adapters import SamMed2dAdapter


class FastAdapter(nn.Module):
    """`SamMed2dAdapter` from reordered copies of its convolutions' weights.

    Args:
        adapter: its other parameters are shared; none may change afterwards.
    """

    def __init__(self, adapter: SamMed2dAdapter) -> None:
        super().__init__()
        self.norm = adapter.norm
        self.channel = adapter.channel
        self.skip_connect = adapter.skip_connect
        down, up = _weights(adapter)
        self.dim: int = up.shape[1]
        # (out, in, 3, 3) -> (3 * 3 * in, out)
        self.down: torch.Tensor
        self.up: torch.Tensor
        reordered = down.detach().permute(2, 3, 1, 0).flatten(0, 2)
        self.register_buffer("down", reordered, persistent=False)
        # (in, out, 4, 4) -> (in, 4 * 4 * out)
        reordered = up.detach().permute(0, 2, 3, 1).flatten(1)
        self.register_buffer("up", reordered, persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens (B, H, W, C) to a correction of the same shape."""
        attention = self.channel(tokens.mean(dim=(1, 2)))
        taps = torch.cat(_taps(tokens * attention[:, None, None, :]), dim=3)
        small = functional.relu(taps @ self.down)
        spread = small @ self.up
        convolved = functional.relu(_fold(spread.reshape(*spread.shape[:3], 4, 4, self.dim)))
        result: torch.Tensor = self.norm(tokens + convolved if self.skip_connect else convolved)
        return result


class TrainableAdapter(nn.Module):
    """`SamMed2dAdapter` from its own parameters, which may change and receive gradients."""

    def __init__(self, adapter: SamMed2dAdapter) -> None:
        super().__init__()
        self.norm = adapter.norm
        self.channel = adapter.channel
        self.skip_connect = adapter.skip_connect
        self.down, self.up = _weights(adapter)
        self.dim: int = self.up.shape[1]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens (B, H, W, C) to a correction of the same shape."""
        attention = self.channel(tokens.mean(dim=(1, 2)))
        # Views of the weights: (out, in * 3 * 3) and (in, out * 4 * 4).
        taps = torch.stack(_taps(tokens * attention[:, None, None, :]), dim=4).flatten(3)
        small = functional.relu(functional.linear(taps, self.down.flatten(1)))
        spread = small @ self.up.flatten(1)
        spread = spread.reshape(*spread.shape[:3], self.dim, 4, 4).permute(0, 1, 2, 4, 5, 3)
        convolved = functional.relu(_fold(spread))
        result: torch.Tensor = self.norm(tokens + convolved if self.skip_connect else convolved)
        return result


def _weights(adapter: SamMed2dAdapter) -> tuple[nn.Parameter, nn.Parameter]:
    """Of both convolutions: (C, C, 3, 3) as (out, in, ..) and (C, C, 4, 4) as (in, out, ..)."""
    down, up = adapter.spatial[0].weight, adapter.spatial[2].weight
    return cast(nn.Parameter, down), cast(nn.Parameter, up)


def _taps(tokens: torch.Tensor) -> list[torch.Tensor]:
    """What a 3 x 3 convolution of stride 2 and padding 1 looks at.

    Args:
        tokens: (B, H, W, C), H and W even.

    Returns:
        (B, H / 2, W / 2, C) for each of the 9 positions in the kernel, row by row.
    """
    height, width = tokens.shape[1], tokens.shape[2]
    # At the end nothing is padded: the last window ends with the last row.
    padded = functional.pad(tokens, (0, 0, 1, 0, 1, 0))
    return [padded[:, i : i + height : 2, j : j + width : 2] for i in range(3) for j in range(3)]


def _fold(patches: torch.Tensor) -> torch.Tensor:
    """Add up what a 4 x 4 transposed convolution of stride 2 and padding 1 spreads.

    Position (i, j) of the small grid reaches rows 2 i - 1 .. 2 i + 2 of the large one: its kernel
    rows 1, 2 lie on its own pair of rows, row 0 on the odd row before, row 3 on the even row after.

    Args:
        patches: (B, h, w, 4, 4, C), by rows and columns of the kernel.

    Returns:
        (B, 2 h, 2 w, C).
    """
    batch, height, width, *_, dim = patches.shape
    rows = patches.flatten(4)
    even = rows[..., 1, :] + functional.pad(rows[..., 3, :], (0, 0, 0, 0, 1, 0))[:, :height]
    odd = rows[..., 2, :] + functional.pad(rows[..., 0, :], (0, 0, 0, 0, 0, 1))[:, 1:]
    tall = torch.stack((even, odd), dim=2).reshape(batch, 2 * height, width, 4, dim)
    left = tall[..., 1, :] + functional.pad(tall[..., 3, :], (0, 0, 1, 0))[:, :, :width]
    right = tall[..., 2, :] + functional.pad(tall[..., 0, :], (0, 0, 0, 1))[:, :, 1:]
    return torch.stack((left, right), dim=3).reshape(batch, 2 * height, 2 * width, dim)

"""A 3D convolution that is fast for one small volume on a CPU, too."""

from __future__ import annotations

from torch import Tensor, nn
from torch.compiler import is_compiling

_SMALL = 20480
"""Up to so many elements in rows of a batch, torch takes its own kernel, not oneDNN's."""


class Conv3d(nn.Conv3d):
    """`torch.nn.Conv3d`, computed twice where that is faster.

    For a single volume whose B x C x D x H is small, torch chooses a kernel that takes about ten
    times as long as oneDNN's (torch 2.15, ``use_mkldnn`` in aten/src/ATen/native/Convolution.cpp).
    A batch of two goes to oneDNN, so one volume is computed as two equal ones.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, D, H, W) as any convolution does."""
        alone = len(x) == 1 and x.device.type == "cpu" and not is_compiling()
        if alone and x.shape[1] * x.shape[2] * x.shape[3] <= _SMALL:
            return super().forward(x.expand(2, -1, -1, -1, -1))[:1]
        return super().forward(x)

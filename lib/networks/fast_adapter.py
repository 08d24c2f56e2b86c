"""The adapter of SAM-Med2D with its convolutions as matrix products.

Every backend has a fast kernel for a matrix product; torch on a CPU reorders the weights of a
convolution for each image otherwise. There are two forms of the same arithmetic. To answer clicks,
the weights are reordered once, so that gathering and spreading pixels copies whole rows of
channels. To train, the weights stay where the optimiser changes them, and gradients reach them
without being reordered either: the weights are much larger than the few tokens of an image.
"""

from __future__ import annotations

import math
import weakref
from typing import Any, cast

import torch
from torch import nn
from torch.autograd.function import once_differentiable
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
    """`SamMed2dAdapter` from its own parameters, which may change and receive gradients.

    Under autocast the memory of the convolutions' gradients outlives them: after ``zero_grad`` the
    next ``backward`` writes to the same place. Who keeps a gradient longer must copy it.

    Args:
        adapter: its parameters are shared.
        scratch: may be that of other adapters, which run before or after but never at once.
    """

    def __init__(self, adapter: SamMed2dAdapter, scratch: Scratch) -> None:
        super().__init__()
        self.norm = adapter.norm
        self.channel = adapter.channel
        self.skip_connect = adapter.skip_connect
        self.down, self.up = _weights(adapter)
        self.dim: int = self.up.shape[1]
        self._memory = _Memory(self.down, scratch), _Memory(self.up, scratch)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens (B, H, W, C) to a correction of the same shape."""
        attention = self.channel(tokens.mean(dim=(1, 2)))
        # Views of the weights: (out, in * 3 * 3) and (in, out * 4 * 4).
        taps = torch.stack(_taps(tokens * attention[:, None, None, :]), dim=4).flatten(3)
        of_down, of_up = self._memory
        small = functional.relu(_product(taps, self.down.flatten(1).t(), of_down))
        spread = _product(small, self.up.flatten(1), of_up)
        spread = spread.reshape(*spread.shape[:3], self.dim, 4, 4).permute(0, 1, 2, 4, 5, 3)
        convolved = functional.relu(_fold(spread))
        result: torch.Tensor = self.norm(tokens + convolved if self.skip_connect else convolved)
        return result


class Scratch:
    """Memory for one large tensor at a time.

    A process gives large pieces of memory back when it frees them. Every page that it takes again
    costs a visit to the system: for the adapters of ViT-B a tenth of the time of a batch.
    """

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def take(self, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        """Uninitialised, on the device and in the type of ``like``; ends the life of the last."""
        needed = math.prod(shape)
        memory = self._memory
        if (memory.device, memory.dtype) != (like.device, like.dtype) or len(memory) < needed:
            self._memory = torch.empty(needed, device=like.device, dtype=like.dtype)
        return self._memory[:needed].view(shape)


class _Use:
    """A product whose gradient has not come yet."""


class _Memory:
    """Memory that the products with a large parameter use again and again.

    Args:
        parameter: whose gradient is kept.
        scratch: for what a product needs in passing.
    """

    def __init__(self, parameter: nn.Parameter, scratch: Scratch) -> None:
        self._parameter, self._scratch = parameter, scratch
        self._memory: torch.Tensor | None = None
        self._waiting: weakref.WeakSet[_Use] = weakref.WeakSet()

    def use(self) -> _Use:
        """Announce a gradient that may come; not after what is returned is forgotten."""
        use = _Use()
        self._waiting.add(use)
        return use

    def reduced(self, weight: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """The parameter, or a view of it, in the type of ``like``; until the next call."""
        matrix = weight if weight.is_contiguous() else weight.t()
        copied = self._scratch.take(tuple(matrix.shape), like).copy_(matrix)
        return copied if weight.is_contiguous() else copied.t()

    def product(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Of two matrices; until the next call."""
        out = self._scratch.take((left.shape[0], right.shape[1]), left)
        return torch.mm(left, right, out=out)

    def keep(self, gradient: torch.Tensor, use: _Use) -> torch.Tensor:
        """A gradient of any shape, in the parameter's type, that was announced by ``use``."""
        self._waiting.discard(use)
        if self._parameter.grad is not None or self._waiting:
            # Another gradient lies in the memory, or is on its way there.
            return gradient.to(self._parameter.dtype)
        if self._memory is None or self._memory.device != gradient.device:
            self._memory = torch.empty_like(self._parameter.detach())
        return self._memory.view(gradient.shape).copy_(gradient)


def _product(tokens: torch.Tensor, weight: torch.Tensor, memory: _Memory) -> torch.Tensor:
    """Tokens (.., K) by a view (K, M) of a parameter."""
    device = tokens.device.type
    if torch.is_autocast_enabled(device):
        reduced = tokens.to(torch.get_autocast_dtype(device))
        return cast(torch.Tensor, _ReducedProduct.apply(reduced, weight, memory))
    return tokens @ weight


class _ReducedProduct(torch.autograd.Function):
    """A product in the tokens' reduced precision with a weight in full precision.

    Autocast would keep the reduced weight from here to the way back, for ViT-B 370 MB in all
    adapters; casting it a second time takes a hundredth of the time of the products.
    """

    @staticmethod
    def forward(
        ctx: Any, tokens: torch.Tensor, weight: torch.Tensor, memory: _Memory
    ) -> torch.Tensor:
        ctx.save_for_backward(tokens, weight)
        ctx.memory, ctx.use = memory, memory.use()
        return tokens @ memory.reduced(weight, tokens)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, Any, None]:
        tokens, weight = ctx.saved_tensors
        memory: _Memory = ctx.memory
        of_tokens = of_weight = None
        if ctx.needs_input_grad[0]:
            of_tokens = gradient @ memory.reduced(weight, tokens).t()
        if ctx.needs_input_grad[1]:
            left, right = tokens.flatten(0, -2), gradient.flatten(0, -2)
            # In the order in which the parameter lies in memory.
            if weight.is_contiguous():
                of_weight = memory.keep(memory.product(left.t(), right), ctx.use)
            else:
                of_weight = memory.keep(memory.product(right.t(), left), ctx.use).t()
        return of_tokens, of_weight, None


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

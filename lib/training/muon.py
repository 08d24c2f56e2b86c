"""Muon: steps of matrices that change all their directions alike.

AdamW scales every number of a gradient by itself. A gradient of a matrix is mostly made of few
directions, which then learn and the others hardly do. Muon (Jordan et al. 2024,
kellerjordan.github.io/posts/muon) replaces the matrix by the orthogonal one nearest to it, in which
every direction counts the same. Here it shares its learning rate with AdamW, which has the biases,
norms, tokens and positions: steps are brought to the size that AdamW's usually have (Liu et al.
2025, arXiv:2502.16982, section 2.2).

Convolutions learn so as well: a kernel (out, in, k, k) is the matrix (out, in k k).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_SMALLEST = 16
"""Rows and columns that a matrix has at least; smaller ones are heads of few numbers."""

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic that brings singular values of 0..1 near 1 in few rounds (Jordan et al.)."""
_ROUNDS = 5

_USUAL_SIZE = 0.2
"""Root mean square of AdamW's steps for a learning rate of 1 (Liu et al.)."""


def is_matrix(module: nn.Module, parameter: Tensor) -> bool:
    """Whether a parameter of a module is for `Muon`: weights of layers with many ins and outs."""
    kinds = (nn.Linear, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    if not isinstance(module, kinds) or parameter.ndim < 2:
        return False
    return min(parameter.shape[0], parameter[0].numel()) >= _SMALLEST


def matrices_of(model: nn.Module) -> set[nn.Parameter]:
    """All parameters of a model that are for `Muon`."""
    return {
        parameter
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
        if is_matrix(module, parameter)
    }


class Muon(Optimizer):
    """See the module.

    Args:
        parameters: with two dimensions or more; those without a gradient stay as they are.
        lr: as for AdamW.
        momentum: of the gradients' moving average, which is looked ahead of by as much (Nesterov).
        weight_decay: as AdamW's.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            list(parameters), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Change the weights by their gradients."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            for alike in _by_shape(moved):
                self._step_alike(alike, group)
        return loss

    def _step_alike(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        """One step of parameters of one shape, which are computed side by side."""
        rows, columns = len(parameters[0]), parameters[0][0].numel()
        ahead = torch.stack([self._ahead(p, group["momentum"]) for p in parameters])
        steps = orthogonal(ahead.view(len(parameters), rows, columns))
        size = group["lr"] * _USUAL_SIZE * math.sqrt(max(rows, columns))
        for parameter, step in zip(parameters, steps, strict=True):
            parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
            parameter.add_(step.view_as(parameter), alpha=-size)

    def _ahead(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """The gradient's moving average, as it would be after one more gradient like this one."""
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        average = state.setdefault("average", torch.zeros_like(parameter))
        average.lerp_(gradient, 1.0 - momentum)
        return gradient.lerp(average, momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """Bring the singular values of matrices near 1, between 0.7 and 1.2, and keep the rest.

    Args:
        matrices: (N, rows, columns).

    Returns:
        As many, float32. Computed in bfloat16, which is exact enough for a direction of learning.
    """
    a, b, c = _COEFFICIENTS
    x = matrices.bfloat16()
    # The products are as large as the shorter side.
    upright = x.shape[-2] > x.shape[-1]
    x = x.mT if upright else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if upright else x).float()


def _by_shape(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    groups: dict[torch.Size, list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(parameter.shape, []).append(parameter)
    return list(groups.values())

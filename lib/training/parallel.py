"""The network that is trained: alone, or as one of several processes that learn together.

Each process has the whole network and a part of every batch; torch's DistributedDataParallel
averages their gradients. One interaction is several passes: all but the one before an update are
made ``apart``, so that processes speak to each other once an update.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lib.networks.sam import AdapterSam, PromptTensors

Encode = Callable[[Tensor], Tensor]


class TrainedNetwork(Protocol):
    """What an interaction needs of a network."""

    @property
    def model(self) -> AdapterSam:
        """The network itself, whose parameters are trained."""

    def encode(self, images: Tensor) -> Tensor:
        """Embed normalised images (B, 3, S, S) as (B, C, S/16, S/16) float32."""

    def decode(
        self, embeddings: Tensor, prompts: PromptTensors, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """As a user is answered: `AdapterSam.decode`, or all masks where the network rates all."""

    def apart(self) -> AbstractContextManager[None]:
        """Passes in this context are not shared with other processes yet."""


class LocalNetwork:
    """A network that is trained by this process alone.

    Args:
        model: the network.
        encode: computes what ``model.encode`` computes, faster; that one where None.
    """

    def __init__(self, model: AdapterSam, encode: Encode | None = None) -> None:
        self.model = model
        self._encode = encode or model.encode

    def encode(self, images: Tensor) -> Tensor:
        """See `TrainedNetwork`."""
        return self._encode(images).float()

    def decode(
        self, embeddings: Tensor, prompts: PromptTensors, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """See `TrainedNetwork`."""
        return _decode(self.model, embeddings, prompts, multimask)

    def apart(self) -> AbstractContextManager[None]:
        """Nobody to share with."""
        return contextlib.nullcontext()


class SharedNetwork:
    """A network that several processes train together.

    torch.distributed must have been initialised, and every process must hold equal weights.

    Args:
        model: the network; which of its parameters learn must not change afterwards.
        encode: as for `LocalNetwork`.
    """

    def __init__(self, model: AdapterSam, encode: Encode | None = None) -> None:
        self.model = model
        device = model.pixel_mean.device
        self._shared = DistributedDataParallel(
            _TwoPasses(model, encode or model.encode),
            device_ids=[device.index] if device.type == "cuda" else None,
            # A step without boxes leaves the embeddings of corners alone, and so on.
            find_unused_parameters=True,
        )

    def encode(self, images: Tensor) -> Tensor:
        """See `TrainedNetwork`."""
        return cast(Tensor, self._shared(images=images)).float()

    def decode(
        self, embeddings: Tensor, prompts: PromptTensors, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """See `TrainedNetwork`."""
        answer = self._shared(embeddings=embeddings, prompts=prompts, multimask=multimask)
        return cast(tuple[Tensor, Tensor], answer)

    def apart(self) -> AbstractContextManager[None]:
        """Gradients stay in this process until the next pass outside of this context."""
        return cast(AbstractContextManager[None], self._shared.no_sync())


class _TwoPasses(nn.Module):
    """Encoder and decoder behind the one ``forward`` that torch's wrapper watches."""

    def __init__(self, model: AdapterSam, encode: Encode) -> None:
        super().__init__()
        self.model = model
        # Not registered: it holds no parameters of its own.
        self._encode = (encode,)

    def forward(
        self,
        images: Tensor | None = None,
        embeddings: Tensor | None = None,
        prompts: PromptTensors | None = None,
        multimask: bool = True,
    ) -> Any:
        """Encode images, or decode prompts on embeddings."""
        if images is not None:
            return self._encode[0](images)
        assert embeddings is not None and prompts is not None
        return _decode(self.model, embeddings, prompts, multimask)


def _decode(
    model: AdapterSam, embeddings: Tensor, prompts: PromptTensors, multimask: bool
) -> tuple[Tensor, Tensor]:
    if multimask and model.config.rate_all_masks:
        return model.decode_all(embeddings, prompts)
    return model.decode(embeddings, prompts, multimask)


def average_gradients(model: nn.Module) -> None:
    """Give all processes the mean of their gradients, in one message; nothing where one is alone.

    A parameter that a process has no gradient of counts as zero there.
    """
    if not torch.distributed.is_initialized():
        return
    learning = [p for p in model.parameters() if p.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    parts = torch.split(flat, [p.numel() for p in learning])
    for parameter, part in zip(learning, parts, strict=True):
        parameter.grad = part.view_as(parameter)


def total_of(value: float, device: torch.device) -> float:
    """The sum of a number over all processes; the number itself where there is one."""
    if not torch.distributed.is_initialized():
        return value
    tensor = torch.tensor(value, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(tensor)
    return float(tensor)


def mean_of(value: float, device: torch.device) -> float:
    """The mean of a number over all processes, equal in all of them."""
    if not torch.distributed.is_initialized():
        return value
    return total_of(value, device) / torch.distributed.get_world_size()


def sum_of(table: Tensor, device: torch.device) -> Tensor:
    """The sum of a table over all processes; the table itself where there is one."""
    if not torch.distributed.is_initialized():
        return table
    moved = table.to(device)
    torch.distributed.all_reduce(moved)
    return moved.cpu()

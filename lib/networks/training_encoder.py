"""The image encoder as training needs it: the network's result and gradients, without waste.

The arithmetic is that of `lib.networks.fast_encoder`: no padded windows, no convolutions in the
adapters. Gradients arrive in the model's own parameters, and only in those that require them; what
comes before the first trained layer is not recorded at all. Under autocast the convolutions of
adapters get their gradients in the same memory every time: copy what is to outlive ``zero_grad``.

One thread at a time may use an encoder, for a batch and its way back: adapters share scratch
memory.

Frozen layers may be kept in bfloat16. They are then cast once and not with every batch, which for
the ViT-B encoder is 350 MB to read, and their matrix products run twice as fast on a processor
with AVX512-BF16. Trained parameters stay in float32, so that small steps are not rounded away;
autocast turns them into bfloat16 once a batch.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from lib.networks.fast_encoder import FastEncoder
from lib.networks.sam import AdapterSam


class TrainingEncoder:
    """Computes what `AdapterSam.encode` computes, with gradients, and faster.

    Args:
        model: on its device. What has ``requires_grad`` now is trained; it is shared, may change,
            and receives the gradients. With ``frozen_dtype`` the linear layers that have it not
            are copied and must not change afterwards: make a new encoder after freezing other
            parameters, loading weights or moving the model.
        frozen_dtype: torch.bfloat16 keeps frozen linear layers in that type and computes under
            autocast in it; None shares all parameters and leaves the precision to the caller.
    """

    def __init__(self, model: AdapterSam, frozen_dtype: torch.dtype | None = None) -> None:
        self._dtype = frozen_dtype
        network = FastEncoder(model.image_encoder, trainable=True)
        self._network = network if frozen_dtype is None else _cast_frozen(network, frozen_dtype)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Embed normalised images (B, 3, S, S) as (B, C, S/16, S/16) float32."""
        if self._dtype is None:
            embeddings: torch.Tensor = self._network(images)
            return embeddings.float()
        with torch.autocast(images.device.type, self._dtype):
            return self._network(images).float()  # type: ignore[no-any-return]


def _cast_frozen(network: FastEncoder, dtype: torch.dtype) -> FastEncoder:
    """A copy that shares all parameters but those of frozen linear layers, which are cast.

    Normalisations and positions are small, and keep their precision.
    """
    replaced: dict[int, object] = {id(p): p for p in network.parameters()}
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad:
                    cast = nn.Parameter(parameter.detach().to(dtype), requires_grad=False)
                    replaced[id(parameter)] = cast
    # What deepcopy finds in its memo it takes from there.
    return copy.deepcopy(network, replaced)

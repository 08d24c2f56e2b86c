"""The image encoder on slabs of slices: Med-SA's attention along depth joins what lies together."""

from __future__ import annotations

import torch

from lib.networks.fast_encoder import FastEncoder
from lib.networks.sam import AdapterSam


class SlabEncoder:
    """Encodes the slices of one slab together; an `Encoder` like those of `lib.networks.backends`.

    Always in torch and float32: the exported encoders know single slices only.

    Args:
        model: on its device, with Med-SA's adapters; its encoder must not be trained while this
            object is used.
        depth: slices of a whole slab, for the name; what lies at the end of a volume may be less.
    """

    def __init__(self, model: AdapterSam, depth: int) -> None:
        self.backend_name = f"torch fp32, slabs of {depth}"
        self._network = FastEncoder(model.image_encoder).eval()

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Embed the slices (D, 3, S, S) of one slab as (D, C, S/16, S/16)."""
        embeddings: torch.Tensor = self._network(images, depth=len(images))
        return embeddings.float()

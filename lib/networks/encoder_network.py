"""What a backend runs to encode an image or a volume: one module for each family of networks."""

from __future__ import annotations

from torch import nn

from lib.networks.fast_encoder import FastEncoder
from lib.networks.sam import AdapterSam, build_sam
from lib.networks.sam3d import Sam3d, build_sam3d

Encodes = AdapterSam | Sam3d
"""Networks with an encoder that may be exchanged."""


def encoder_network(model: Encodes) -> nn.Module:
    """The encoder in its fastest form, in evaluation mode; the parameters are the model's own."""
    if isinstance(model, AdapterSam):
        return FastEncoder(model.image_encoder).eval()
    return model.image_encoder.eval()  # which is exact and short already


def build_like(model: Encodes) -> Encodes:
    """A network of the same architecture with untrained weights, in evaluation mode."""
    if isinstance(model, AdapterSam):
        return build_sam(model.config)
    return build_sam3d(model.config)

"""Published versions of a network for tests, with masks that cannot be taken for each other."""

from __future__ import annotations

from pathlib import Path

import torch

from lib.networks import AdapterSam, build_model
from lib.training.registry import Registry, Version, VersionFacts

FACTS = VersionFacts(
    recipe="default",
    trained="decoder",
    data_sha256="d" * 64,
    n_images=5,
    seen=("one", "two"),
    metrics={"1": {"before": 0.5, "after": 0.75}},
    gate={"publish": True},
)


def inverted(model: AdapterSam) -> AdapterSam:
    """Every logit with the other sign, so every first mask becomes its complement.

    The last layers of the networks that make the masks are linear.
    """
    with torch.no_grad():
        for network in model.mask_decoder.output_hypernetworks_mlps:
            for parameter in network.layers[-1].parameters():
                parameter.neg_()
    return model


def with_other_encoder(model: AdapterSam) -> AdapterSam:
    """Embeddings that are other ones."""
    with torch.no_grad():
        model.image_encoder.pos_embed.add_(0.5)
    return model


def publish_inverted(folder: Path, base: Path, encoder: bool = False) -> Version:
    """Publish a samed2d_t with inverted masks, and with another encoder if wanted."""
    model = inverted(build_model("samed2d_t", base))
    if encoder:
        with_other_encoder(model)
    return Registry(folder, "samed2d_t", base).publish(model, FACTS)

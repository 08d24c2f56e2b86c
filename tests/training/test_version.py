"""Which tensors of a network make a version."""

from __future__ import annotations

from pathlib import Path

import torch

from lib.networks import build_model
from lib.training.version import changed_tensors


def test_adapters_that_are_as_they_began_are_no_change(random_weights: Path) -> None:
    """The weight file of its base does not know them; a decoder that learned leaves them alone."""
    model = build_model("medsa_t", random_weights)
    assert changed_tensors(model, random_weights) == {}
    with torch.no_grad():
        model.mask_decoder.iou_token.weight += 1
        model.image_encoder.blocks[0].Space_Adapter.D_fc2.bias += 1
    assert list(changed_tensors(model, random_weights)) == [
        "image_encoder.blocks.0.Space_Adapter.D_fc2.bias",
        "mask_decoder.iou_token.weight",
    ]

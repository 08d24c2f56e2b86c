"""A small network with a convolutional stem and a detail decoder."""

from __future__ import annotations

import torch

from lib.networks import AdapterSam, build_sam
from lib.networks.architectures import Architecture

DETAILED = Architecture(
    "detailed",
    embed_dim=24,
    depth=2,
    num_heads=2,
    global_attention=(0, 1),
    prompt_dim=32,
    decoder_heads=2,
    decoder_mlp_dim=32,
    iou_hidden_dim=16,
    mask_channels=4,
    rate_all_masks=True,
    stem=(12, 12, 24),
    detail_channels=4,
    resize="area",
)


def detailed_model(seed: int = 0) -> AdapterSam:
    """With random weights."""
    torch.manual_seed(seed)
    return build_sam(DETAILED)

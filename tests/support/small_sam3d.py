"""A tiny network for volumes: details and drawn prompts as the compact one has them."""

from __future__ import annotations

from lib.networks.architectures3d import Architecture3d

SMALL3D = Architecture3d(
    "small3d",
    embed_dim=24,
    depth=1,
    num_heads=2,
    global_attention=(0,),
    image_size=32,
    prompt_dim=24,
    decoder_heads=2,
    decoder_mlp_dim=24,
    iou_hidden_dim=24,
    relative_position="corrected",
    dense_encoding="corrected",
    stem=(12, 12, 12),
    detail_channels=4,
)
"""Cubes of 32 voxels; masks and mask prompts of 8."""

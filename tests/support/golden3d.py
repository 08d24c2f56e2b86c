"""The tiny SAM-Med3D of the golden numbers."""

from __future__ import annotations

import torch

from lib.networks.architectures3d import Architecture3d
from lib.networks.sam3d import Sam3d, build_sam3d
from tests.support import golden

TINY3D = Architecture3d(
    "tiny3d",
    embed_dim=48,
    depth=3,
    num_heads=4,
    global_attention=(1,),
    prompt_dim=48,
)
"""The shapes of sammed3d_tiny_weights.npz."""


def tiny_weights() -> dict[str, torch.Tensor]:
    """Its golden weights."""
    return {n: torch.tensor(v) for n, v in golden.load("sammed3d_tiny_weights.npz").items()}


def tiny_model3d() -> Sam3d:
    """The tiny network with the golden weights."""
    model = build_sam3d(TINY3D)
    model.load_state_dict(tiny_weights())
    return model

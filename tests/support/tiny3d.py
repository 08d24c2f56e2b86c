"""A network for volumes that is small enough to be built in every test."""

from __future__ import annotations

import numpy as np
import torch

from lib.inference.cache import ByteBoundedCache
from lib.inference.cube_network import CubeEmbedder, CubeNetwork
from lib.networks.architectures3d import Architecture3d
from lib.networks.backends import TorchEncoder
from lib.networks.sam3d import Sam3d, build_sam3d

SMALL = Architecture3d(
    "small3d",
    embed_dim=24,
    depth=1,
    num_heads=2,
    global_attention=(),
    image_size=32,
    prompt_dim=48,
    decoder_mlp_dim=32,
    iou_hidden_dim=16,
    relative_position="corrected",
    dense_encoding="corrected",
    stem=(12, 12, 12),
    detail_channels=4,
)
"""Cubes of 32 voxels, 8 cells."""


def small_model(seed: int = 0) -> Sam3d:
    """With random weights."""
    torch.manual_seed(seed)
    return build_sam3d(SMALL)


def small_network(model: Sam3d | None = None) -> CubeNetwork:
    """The same behind its caches."""
    model = model or small_model()
    embedder = CubeEmbedder(model, TorchEncoder(model), "small3d-1", ByteBoundedCache(1 << 24))
    return CubeNetwork(model, embedder, ByteBoundedCache(1 << 20))


def ball(shape: tuple[int, int, int], centre: tuple[float, ...], radius: float) -> np.ndarray:
    """Whether voxels lie in a ball."""
    places = np.stack(np.indices(shape), axis=-1)
    inside: np.ndarray = ((places - centre) ** 2).sum(axis=-1) <= radius**2
    return inside

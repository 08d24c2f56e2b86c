"""The adapters of Medical SAM Adapter, and attention along the depth of a slab of slices.

Each block of the image encoder gets three bottlenecks (Wu et al. 2023, arXiv:2304.12620, section
3): one behind the attention over space, one behind the attention over depth, one beside the MLP.
These here start as identity: an encoder that just got them computes what it did before.
`lib.networks.medsa_reference` has what the public code does differently.
"""

from __future__ import annotations

import torch
from segment_anything.modeling.image_encoder import Attention
from torch import nn
from torch.nn import functional

MLP_SCALE = 0.5
"""What the adapter beside the MLP counts (public code, ``scale``)."""
_SEED = 0


class MedSaAdapter(nn.Module):
    """A bottleneck of two linear layers with GELU between them.

    Attribute names follow the public code (``D_fc1``, ``D_fc2``).

    Args:
        dim: channels C of the tokens.
        ratio: C x ratio channels in the bottleneck, rounded down, at least 1; the public code has
            1/4.
        skip_connect: add the tokens themselves.
        identity: start with a second layer of zeros, so that nothing is added to begin with, and
            with the same first layer in every process; else as torch starts linear layers.
    """

    def __init__(
        self, dim: int, ratio: float = 0.25, skip_connect: bool = True, identity: bool = True
    ) -> None:
        super().__init__()
        hidden = bottleneck(dim, ratio)
        self.skip_connect = skip_connect
        self.D_fc1 = nn.Linear(dim, hidden)
        self.D_fc2 = nn.Linear(hidden, dim)
        if identity:
            start_alike(self.D_fc1)
            start_at_zero(self.D_fc2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens (.., C) to tokens, or without ``skip_connect`` to a correction of them."""
        correction: torch.Tensor = self.D_fc2(functional.gelu(self.D_fc1(tokens)))
        return tokens + correction if self.skip_connect else correction


def bottleneck(dim: int, ratio: float) -> int:
    """Channels in the bottleneck of an adapter for ``dim`` channels."""
    return max(1, int(dim * ratio))


def start_alike(layer: nn.Linear) -> None:
    """Weights as torch draws them, but the same ones in every process; a bias of zero.

    A network whose adapters add nothing yet is then one network, not another one at each start.
    """
    if layer.weight.is_meta:
        return
    generator = torch.Generator(layer.weight.device).manual_seed(_SEED)
    bound = layer.in_features**-0.5
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.zeros_(layer.bias)


def start_at_zero(layer: nn.Linear) -> None:
    """Weights and bias of zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def attend_along_depth(attention: Attention, tokens: torch.Tensor, depth: int) -> torch.Tensor:
    """The attention of a block, over the slices of a slab instead of the places of a slice.

    Each place of the grid is a sequence of ``depth`` tokens, in blocks with windows too: the paper
    swaps the two axes and uses the same attention (SD-Trans). A slice away counts like a row of
    tokens away: the table of relative rows is used as it is. The table of columns adds the same to
    all keys of a query, and so nothing.

    Args:
        attention: of a block, with relative positions.
        tokens: (B * depth, H, W, C), the slices of one slab behind each other.
        depth: slices of a slab.

    Returns:
        (B * depth, H, W, C).
    """
    rows, height, width, channels = tokens.shape
    sequences = tokens.reshape(rows // depth, depth, height * width, channels)
    sequences = sequences.transpose(1, 2).reshape(-1, depth, channels)
    qkv = attention.qkv(sequences).reshape(len(sequences), depth, 3, attention.num_heads, -1)
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    reach = len(attention.rel_pos_h) // 2
    place = torch.arange(depth, device=tokens.device)
    away = (place[:, None] - place[None, :]).clamp(-reach, reach) + reach
    bias = torch.einsum("bhqc,qkc->bhqk", query, attention.rel_pos_h[away])
    attended = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=bias, scale=attention.scale
    )
    merged = attention.proj(attended.transpose(1, 2).reshape(len(sequences), depth, channels))
    merged = merged.reshape(rows // depth, height * width, depth, channels).transpose(1, 2)
    result: torch.Tensor = merged.reshape(rows, height, width, channels)
    return result

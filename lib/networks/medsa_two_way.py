"""The two-way transformer of Medical SAM Adapter's public code, which is not SAM's.

Tokens of prompts attend to each other, to the image, and the image to them, as in SAM. But the
first layer adds what self-attention gives (SAM's replaces the tokens by it), the later ones keep
the prompts' positions in the tokens and use them as values as well, and two layers of the MLP have
other names. A vanilla SAM file's decoder therefore means something else here.
"""

from __future__ import annotations

from segment_anything.modeling.transformer import TwoWayAttentionBlock, TwoWayTransformer
from torch import Tensor, nn


class ReferenceTwoWay(TwoWayTransformer):  # type: ignore[misc]  # segment-anything has no types
    """SAM's transformer with the public code's layers.

    Args:
        depth: layers.
        dim: channels C of the tokens.
        heads: of each attention.
        mlp_dim: hidden channels of the MLPs.
    """

    def __init__(self, depth: int, dim: int, heads: int, mlp_dim: int) -> None:
        super().__init__(depth=0, embedding_dim=dim, num_heads=heads, mlp_dim=mlp_dim)
        for index in range(depth):
            self.layers.append(ReferenceLayer(dim, heads, mlp_dim, first=index == 0))


class ReferenceLayer(TwoWayAttentionBlock):  # type: ignore[misc]
    """One layer.

    Args:
        dim: channels C of the tokens.
        heads: of each attention.
        mlp_dim: hidden channels of the MLP.
        first: whether the prompts' positions are not added to the tokens.
    """

    def __init__(self, dim: int, heads: int, mlp_dim: int, first: bool) -> None:
        super().__init__(dim, heads, mlp_dim, skip_first_layer_pe=first)
        self.mlp = ReferenceMlp(dim, mlp_dim)

    def forward(
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens (R, N, C) and image (R, h * w, C), each with its positions, to both."""
        if not self.skip_first_layer_pe:
            queries = queries + query_pe
        queries = self.norm1(queries + self.self_attn(q=queries, k=queries, v=queries))
        seen = self.cross_attn_token_to_image(q=queries + query_pe, k=keys + key_pe, v=keys)
        queries = self.norm2(queries + seen)
        queries = self.norm3(queries + self.mlp(queries))
        told = self.cross_attn_image_to_token(q=keys + key_pe, k=queries + query_pe, v=queries)
        return queries, self.norm4(keys + told)


class ReferenceMlp(nn.Module):
    """Two linear layers with ReLU between them, under the public code's names."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(dim, hidden), nn.ReLU())])
        self.fc = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (.., C) to the same shape."""
        result: Tensor = self.fc(self.layers[0](tokens))
        return result

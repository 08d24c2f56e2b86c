"""Med-SA's adapters inside the mask decoder, one of which knows the prompt.

The paper (Wu et al. 2023, arXiv:2304.12620, section 3.3) puts three into each layer of the two-way
transformer: one behind the tokens' look at the image, which is conditioned on the prompt
(HyP-Adpt), one beside the MLP, one on the image's tokens. Its public code has none of them. What
its equations leave open, and how it is filled in here, is in
docs/explanation/medical-sam-adapter.md. All start as identity: a decoder that just got them
computes what it did before.
"""

from __future__ import annotations

import torch
from segment_anything.modeling.transformer import TwoWayAttentionBlock, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional

from lib.networks.architectures import Conditioning
from lib.networks.medsa import MLP_SCALE, MedSaAdapter, bottleneck, start_alike, start_at_zero


class PromptAdapter(nn.Module):
    """A bottleneck whose inside depends on the prompt, added to the tokens.

    With e the tokens in the bottleneck and p the prompt, it is ReLU(e) where ``plain``,
    ReLU(e + V p) where ``additive`` (the paper's first version), and ReLU(Norm(e W(p))) where
    ``hyp``, W being a matrix that a small network makes from the prompt.

    Args:
        dim: channels C of the tokens.
        ratio: see `lib.networks.medsa.MedSaAdapter`.
        conditioning: "plain", "additive" or "hyp".
    """

    def __init__(self, dim: int, ratio: float, conditioning: Conditioning) -> None:
        super().__init__()
        hidden = bottleneck(dim, ratio)
        self.D_fc1 = nn.Linear(dim, hidden)
        self.D_fc2 = nn.Linear(hidden, dim)
        start_alike(self.D_fc1)
        start_at_zero(self.D_fc2)
        self.of_prompt: nn.Linear | None = None
        self.weights: nn.Linear | None = None
        if conditioning != "plain":
            self.of_prompt = nn.Linear(dim, hidden)
            start_alike(self.of_prompt)
        if conditioning == "hyp":
            self.weights = nn.Linear(hidden, hidden * hidden)
            self.norm = nn.LayerNorm(hidden)
            start_at_zero(self.weights)
            with torch.no_grad():
                self.weights.bias.copy_(torch.eye(hidden).flatten())

    def forward(self, tokens: Tensor, prompt: Tensor) -> Tensor:
        """Tokens (R, N, C) of R rows, whose prompts are (R, C), to tokens of the same shape."""
        inside = self.D_fc1(tokens)
        if self.of_prompt is not None:
            known = self.of_prompt(prompt)
            if self.weights is None:
                inside = inside + known[:, None]
            else:
                matrix = self.weights(functional.relu(known)).unflatten(1, (-1, inside.shape[2]))
                inside = self.norm(inside @ matrix)
        result: Tensor = tokens + self.D_fc2(functional.relu(inside))
        return result


class AdaptedTwoWay(TwoWayTransformer):  # type: ignore[misc]  # segment-anything has no types
    """SAM's two-way transformer with adapters in its layers.

    Args:
        depth: layers.
        dim: channels C of the tokens.
        heads: of each attention.
        mlp_dim: hidden channels of the MLPs.
        own_tokens: tokens in front of the prompts', which belong to the decoder.
        ratio, conditioning: see `PromptAdapter`.
    """

    def __init__(
        self,
        depth: int,
        dim: int,
        heads: int,
        mlp_dim: int,
        own_tokens: int,
        ratio: float,
        conditioning: Conditioning,
    ) -> None:
        super().__init__(depth=0, embedding_dim=dim, num_heads=heads, mlp_dim=mlp_dim)
        for index in range(depth):
            layer = AdaptedLayer(
                dim, num_heads=heads, mlp_dim=mlp_dim, skip_first_layer_pe=index == 0
            )
            layer.adapt(dim, own_tokens, ratio, conditioning)
            self.layers.append(layer)


class AdaptedLayer(TwoWayAttentionBlock):  # type: ignore[misc]
    """A layer of SAM's two-way transformer; `adapt` gives it its adapters."""

    def adapt(self, dim: int, own_tokens: int, ratio: float, conditioning: Conditioning) -> None:
        """See `AdaptedTwoWay` for the arguments."""
        self.own_tokens = own_tokens
        self.Prompt_Adapter = PromptAdapter(dim, ratio, conditioning)
        self.MLP_Adapter = MedSaAdapter(dim, ratio, skip_connect=False)
        self.Image_Adapter = MedSaAdapter(dim, ratio)

    def forward(
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens (R, N, C) and image (R, h * w, C), each with its positions, to both.

        ``query_pe`` are the tokens as they came in: those of the decoder, then the prompt's.
        """
        if self.skip_first_layer_pe:
            queries = self.self_attn(q=queries, k=queries, v=queries)
        else:
            placed = queries + query_pe
            queries = queries + self.self_attn(q=placed, k=placed, v=queries)
        queries = self.norm1(queries)
        seen = self.cross_attn_token_to_image(q=queries + query_pe, k=keys + key_pe, v=keys)
        prompt = mean_token(query_pe[:, self.own_tokens :])
        queries = self.norm2(queries + self.Prompt_Adapter(seen, prompt))
        beside = MLP_SCALE * self.MLP_Adapter(queries)
        queries = self.norm3(queries + self.mlp(queries) + beside)
        told = self.cross_attn_image_to_token(q=keys + key_pe, k=queries + query_pe, v=queries)
        return queries, self.norm4(self.Image_Adapter(keys + told))


def mean_token(tokens: Tensor) -> Tensor:
    """The mean of N tokens (R, N, C) of a prompt as (R, C); zero where there are none."""
    return tokens.sum(dim=1) / max(1, tokens.shape[1])

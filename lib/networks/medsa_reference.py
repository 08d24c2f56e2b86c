"""Medical SAM Adapter exactly as its public code computes it, to run and to study its checkpoints.

KidsWithTokens/Medical-SAM-Adapter, commit 4dcdc63, network ``sam`` with ``sam_adpt``. It differs
from the paper and from SAM, and each difference is kept here on purpose:

* windows are cut, and padded, before the first normalisation;
* along depth the same attention runs over slices folded to a small grid, with SAM's tables of
  positions stretched to it; in blocks with windows the rows it groups mix windows and slices;
* the decoder's two-way transformer adds where SAM's replaces (`lib.networks.medsa_two_way`);
* the decoder answers with its first masks, one for each class, and not with the best of three;
* positions are resampled at every call, bicubically.

`lib.networks.encoder.AdapterBlock` is the corrected network, which is served and trained.
"""

from __future__ import annotations

import math

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder
from segment_anything.modeling.common import MLPBlock
from segment_anything.modeling.image_encoder import (
    Attention,
    ImageEncoderViT,
    add_decomposed_rel_pos,
    window_partition,
    window_unpartition,
)
from torch import nn
from torch.nn import functional

from lib.networks.architectures import Architecture
from lib.networks.encoder import BLOCK_NORM
from lib.networks.fast_decoder import predict_masks
from lib.networks.medsa import MLP_SCALE, MedSaAdapter
from lib.networks.medsa_two_way import ReferenceTwoWay
from lib.networks.sam import PromptTensors

_SINGLE_CLASS_TOKENS = 4


def closest_numbers(depth: int) -> tuple[int, int]:
    """The grid (rows, columns) that slices of a slab are folded to.

    Rows are the largest divisor whose square is less than the depth, so that no grid is square.
    The public code never ends for one slice; here that is (1, 1).
    """
    rows = next((n for n in range(math.isqrt(depth), 1, -1) if depth % n == 0 and n * n < depth), 1)
    return rows, depth // rows


class ReferenceMedSa(nn.Module):
    """The whole network; the names of its tensors are those of the public code.

    Args:
        architecture: shapes; ``adapters`` and what belongs to training is not looked at.
        classes: masks that are answered for each row of prompts.
    """

    def __init__(self, architecture: Architecture, classes: int = 1) -> None:
        super().__init__()
        self.classes = classes
        self.image_encoder = ReferenceEncoder(architecture)
        grid = (architecture.grid_size, architecture.grid_size)
        self.prompt_encoder = PromptEncoder(
            embed_dim=architecture.prompt_dim,
            image_embedding_size=grid,
            input_image_size=(architecture.image_size, architecture.image_size),
            mask_in_chans=architecture.mask_channels,
        )
        self.mask_decoder = MaskDecoder(
            transformer_dim=architecture.prompt_dim,
            transformer=ReferenceTwoWay(
                architecture.decoder_depth,
                architecture.prompt_dim,
                architecture.decoder_heads,
                architecture.decoder_mlp_dim,
            ),
            num_multimask_outputs=max(_SINGLE_CLASS_TOKENS, classes) - 1,
            iou_head_depth=architecture.iou_head_depth,
            iou_head_hidden_dim=architecture.iou_hidden_dim,
        )

    def encode(self, images: torch.Tensor, depth: int = 0) -> torch.Tensor:
        """Embed images (B, 3, S, S) in 0..1 as (B, C, S/16, S/16).

        Args:
            images: in 3D the slices of volumes behind each other.
            depth: slices of a volume (``chunk``), 0 for images that have nothing to do with each
                other.
        """
        embeddings: torch.Tensor = self.image_encoder(images, depth)
        return embeddings

    def decode(
        self, embeddings: torch.Tensor, prompts: PromptTensors
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Masks for R rows of prompts on (R, C, h, w), one row for each image.

        Returns:
            Logits (R, classes, 4h, 4w) and predicted IoU (R, classes).
        """
        points = None if prompts.points is None else (prompts.points, prompts.labels)
        sparse, dense = self.prompt_encoder(points, prompts.boxes, prompts.masks)
        positions = self.prompt_encoder.get_dense_pe()
        logits, iou = predict_masks(self.mask_decoder, embeddings, positions, sparse, dense)
        return logits[:, : self.classes], iou[:, : self.classes]


class ReferenceEncoder(ImageEncoderViT):  # type: ignore[misc]  # segment-anything has no types
    """SAM's ViT with Med-SA's blocks and positions that are resampled at every call."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(
            embed_dim=architecture.embed_dim,
            depth=0,
            out_chans=architecture.prompt_dim,
            norm_layer=BLOCK_NORM,
        )
        for index in range(architecture.depth):
            window = 0 if index in architecture.global_attention else architecture.window_size
            side = window or architecture.grid_size
            dim, heads = architecture.embed_dim, architecture.num_heads
            self.blocks.append(ReferenceBlock(dim, heads, window, side))

    def forward(self, x: torch.Tensor, depth: int = 0) -> torch.Tensor:
        """Map images (B, 3, S, S) to (B, C, S/16, S/16); see `ReferenceMedSa.encode`."""
        tokens = self.patch_embed(x)
        positions = functional.interpolate(
            self.pos_embed.permute(0, 3, 1, 2), tokens.shape[1:3], mode="bicubic"
        )
        tokens = tokens + positions.permute(0, 2, 3, 1)
        for block in self.blocks:
            tokens = block(tokens, depth)
        embeddings: torch.Tensor = self.neck(tokens.permute(0, 3, 1, 2))
        return embeddings


class ReferenceBlock(nn.Module):
    """A ViT block with the three adapters, in the public code's order.

    Args:
        dim: channels C of the tokens.
        num_heads: of the attention.
        window_size: tokens along one edge of a window, 0 for the whole grid.
        side: tokens along one edge that the tables of positions are made for.
    """

    def __init__(self, dim: int, num_heads: int, window_size: int, side: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = BLOCK_NORM(dim)
        self.attn = ReferenceAttention(dim, num_heads, side)
        self.norm2 = BLOCK_NORM(dim)
        self.mlp = MLPBlock(dim, 4 * dim)
        self.Space_Adapter = MedSaAdapter(dim, identity=False)
        self.Depth_Adapter = MedSaAdapter(dim, skip_connect=False, identity=False)
        self.MLP_Adapter = MedSaAdapter(dim, skip_connect=False, identity=False)

    def forward(self, x: torch.Tensor, depth: int = 0) -> torch.Tensor:
        """Map tokens (B, H, W, C) to tokens of the same shape; see `ReferenceMedSa.encode`."""
        grid = (x.shape[1], x.shape[2])
        rows, padded = window_partition(x, self.window_size) if self.window_size else (x, grid)
        normalised = self.norm1(rows)
        attended = self.Space_Adapter(self.attn(normalised))
        if depth:
            attended = attended + self._along_depth(normalised, depth)
        if self.window_size:
            attended = window_unpartition(attended, self.window_size, padded, grid)
        x = x + attended
        normalised = self.norm2(x)
        x = x + self.mlp(normalised) + MLP_SCALE * self.MLP_Adapter(normalised)
        return x

    def _along_depth(self, tokens: torch.Tensor, depth: int) -> torch.Tensor:
        """Attention over groups of ``depth`` rows that follow each other, whatever they are."""
        rows, height, width, channels = tokens.shape
        places = height * width
        sequences = tokens.reshape(rows // depth, depth, places, channels).transpose(1, 2)
        folded = sequences.reshape(-1, *closest_numbers(depth), channels)
        along = self.Depth_Adapter(self.attn(folded))
        along = along.reshape(rows // depth, places, depth, channels).transpose(1, 2)
        result: torch.Tensor = along.reshape(rows, height, width, channels)
        return result


class ReferenceAttention(Attention):  # type: ignore[misc]  # segment-anything has no types
    """SAM's attention, whose tables of positions have the public code's names."""

    def __init__(self, dim: int, num_heads: int, side: int) -> None:
        super().__init__(dim, num_heads)
        self.rel_h = nn.Parameter(torch.zeros(2 * side - 1, dim // num_heads))
        self.rel_w = nn.Parameter(torch.zeros(2 * side - 1, dim // num_heads))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map tokens (B, H, W, C) to tokens of the same shape."""
        batch, height, width, channels = x.shape
        grid = (height, width)
        qkv = self.qkv(x).reshape(batch, height * width, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).flatten(1, 2).unbind(0)
        weights = (query * self.scale) @ key.transpose(1, 2)
        weights = add_decomposed_rel_pos(weights, query, self.rel_h, self.rel_w, grid, grid)
        attended = (weights.softmax(dim=2) @ value).unflatten(0, (batch, self.num_heads))
        merged = attended.transpose(1, 2).reshape(batch, height, width, channels)
        result: torch.Tensor = self.proj(merged)
        return result

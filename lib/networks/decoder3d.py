"""SAM-Med3D's mask decoder, and one whose last steps see details and drawn prompts.

The two-way transformer is SAM's own: it flattens the image's tokens whatever their axes are. The
two transposed convolutions of kernel and stride 2 are matrix products, as in
`lib.networks.fast_decoder`.
"""

from __future__ import annotations

from typing import cast

import torch
from segment_anything.modeling import TwoWayTransformer
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn
from torch.nn import functional

from lib.networks.architectures3d import Architecture3d
from lib.networks.conv3d import Conv3d
from lib.networks.encoder3d import LayerNorm3d
from lib.networks.likeness3d import LIKENESS_CHANNELS, likeness
from lib.networks.prompt_maps3d import CHANNELS, NARROW

_WIDTH = 24


class MaskDecoder3d(nn.Module):
    """From embedding and prompts to logits of masks and their predicted IoU.

    Args:
        architecture: sizes.
    """

    def __init__(self, architecture: Architecture3d) -> None:
        super().__init__()
        dim = architecture.prompt_dim
        masks = 1 + architecture.multimask_outputs
        self.transformer = TwoWayTransformer(
            depth=architecture.decoder_depth,
            embedding_dim=dim,
            num_heads=architecture.decoder_heads,
            mlp_dim=architecture.decoder_mlp_dim,
        )
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(masks, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose3d(dim, dim // 4, kernel_size=2, stride=2),
            LayerNorm3d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose3d(dim // 4, dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(dim, dim, dim // 8, 3) for _ in range(masks)
        )
        self.iou_prediction_head = MLP(
            dim, architecture.iou_hidden_dim, masks, architecture.iou_head_depth
        )

    def forward(
        self,
        embeddings: Tensor,
        positions: Tensor,
        sparse: Tensor,
        dense: Tensor,
        details: Tensor | None = None,
        drawn: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode R rows of prompts.

        Args:
            embeddings: (1, C, g, g, g), shared by all rows, or (R, C, g, g, g).
            positions: (1, C, g, g, g) of the embedding's cells.
            sparse: (R, N, C) prompt tokens.
            dense: (R, C, g, g, g) what masks add to the embedding.
            details: (1 or R, K, 4g, 4g, 4g), for `refine`; not used here.
            drawn: (R, CHANNELS, 4g, 4g, 4g), for `refine`; not used here.

        Returns:
            Logits (R, 4, 4g, 4g, 4g), the single mask first, and predicted IoU (R, 4).
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat((own.expand(len(sparse), -1, -1), sparse), dim=1)
        image = embeddings + dense
        # SAM's transformer wants two axes of an image, which it makes one at once.
        answers, seen = self.transformer(
            image.flatten(3), positions.expand_as(image).flatten(3), tokens
        )
        masks = torch.stack(
            [mlp(answers[:, 1 + n]) for n, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        pixels = self.refine(self._upscaled(seen, image.shape[-1]), details, drawn)
        logits = torch.einsum("rmc,rcdhw->rmdhw", masks, pixels)
        iou: Tensor = self.iou_prediction_head(answers[:, 0])
        return logits, iou

    def refine(self, pixels: Tensor, details: Tensor | None, drawn: Tensor | None) -> Tensor:
        """Change enlarged tokens (R, C/8, 4g, 4g, 4g) before masks are read off them: not here."""
        return pixels

    def _upscaled(self, tokens: Tensor, grid: int) -> Tensor:
        """Tokens (R, g * g * g, C) to (R, C/8, 4g, 4g, 4g)."""
        first, norm, activation, second, last = self.output_upscaling
        tokens = _enlarged(cast(nn.ConvTranspose3d, first), tokens)
        tokens = activation(cast(LayerNorm3d, norm).last(tokens))
        voxels = last(_enlarged(cast(nn.ConvTranspose3d, second), tokens))
        # Axes of the grid, of the first enlargement, of the second; each as depth, height, width.
        voxels = voxels.reshape(len(voxels), *3 * (grid,), *6 * (2,), -1)
        voxels = voxels.permute(0, 10, 1, 4, 7, 2, 5, 8, 3, 6, 9)
        placed: Tensor = voxels.reshape(len(voxels), -1, *3 * (4 * grid,))
        return placed


class DetailMaskDecoder3d(MaskDecoder3d):
    """As `lib.networks.detail_decoder`: a small U-Net over enlarged tokens, details and prompts.

    Args:
        architecture: sizes.
    """

    def __init__(self, architecture: Architecture3d) -> None:
        super().__init__(architecture)
        channels = architecture.prompt_dim // 8
        self.details_in = Conv3d(architecture.detail_channels, _WIDTH, 1)
        self.fine_in = Conv3d(channels + CHANNELS + LIKENESS_CHANNELS, _WIDTH, 3, padding=1)
        self.coarse = nn.Sequential(
            Conv3d(_WIDTH, 2 * _WIDTH, 3, stride=2, padding=1),
            nn.GELU(),
            Conv3d(2 * _WIDTH, 2 * _WIDTH, 3, padding=1),
            nn.GELU(),
            Conv3d(2 * _WIDTH, _WIDTH, 1),
        )
        self.fine_out = Conv3d(_WIDTH, channels, 3, padding=1)

    def refine(self, pixels: Tensor, details: Tensor | None, drawn: Tensor | None) -> Tensor:
        """Add to the enlarged tokens what can be seen at their resolution."""
        assert details is not None and drawn is not None
        alike = likeness(details, drawn[:, NARROW])
        seen = torch.cat([pixels, drawn.to(pixels.dtype), alike.to(pixels.dtype)], dim=1)
        joined = self.fine_in(seen)
        fine = functional.gelu(joined + self.details_in(details))
        wide = functional.interpolate(self.coarse(fine), scale_factor=2.0, mode="nearest")
        refined: Tensor = pixels + self.fine_out(functional.gelu(fine + wide))
        return refined


def _enlarged(convolution: nn.ConvTranspose3d, tokens: Tensor) -> Tensor:
    """Tokens (R, n, in) to (R, n * 2 * 2 * 2, out)."""
    assert convolution.bias is not None
    # (in, out, 2, 2, 2) -> (2 * 2 * 2 * out, in), as a linear layer has it.
    weight = convolution.weight.permute(2, 3, 4, 1, 0).flatten(0, 3)
    enlarged = functional.linear(tokens, weight, convolution.bias.repeat(8))
    return enlarged.reshape(len(tokens), -1, convolution.out_channels)

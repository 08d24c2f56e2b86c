"""SAM's mask decoder with last steps that see the image's details, the prompts and the masks."""

from __future__ import annotations

from typing import Any

import torch
from segment_anything.modeling import MaskDecoder
from torch import Tensor, nn
from torch.nn import functional

from lib.networks.mask_rating import MaskRating
from lib.networks.prompt_maps import CHANNELS

_WIDTH = 24


class DetailMaskDecoder(MaskDecoder):  # type: ignore[misc]  # segment-anything has no types
    """SAM's mask decoder, whose enlarged tokens meet the details of the 4-pixel stage.

    SAM enlarges tokens of 16 pixels without looking at the image again; SAM 2 (Ravi et al. 2024,
    arXiv:2408.00714) adds features of earlier stages there. Here a small U-Net joins the enlarged
    tokens, the details and the drawn prompts, before masks are read off its pixels. The masks are
    then rated by what they are, see `lib.networks.mask_rating`.

    Args:
        detail_channels: of the details.
        transformer_dim: C of the tokens.
        **others: see SAM's.
    """

    def __init__(self, detail_channels: int, transformer_dim: int, **others: Any) -> None:
        super().__init__(transformer_dim=transformer_dim, **others)
        pixel_channels = transformer_dim // 8
        self.details_in = nn.Conv2d(detail_channels, _WIDTH, 1)
        self.fine_in = nn.Conv2d(pixel_channels + CHANNELS, _WIDTH, 3, padding=1)
        self.coarse = nn.Sequential(
            nn.Conv2d(_WIDTH, 2 * _WIDTH, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(2 * _WIDTH, 2 * _WIDTH, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(2 * _WIDTH, _WIDTH, 1),
        )
        self.fine_out = nn.Conv2d(_WIDTH, pixel_channels, 3, padding=1)
        self.rating = MaskRating(transformer_dim, pixel_channels + detail_channels + CHANNELS)

    def refine(self, pixels: Tensor, details: Tensor, drawn: Tensor) -> Tensor:
        """Add to the enlarged tokens what can be seen at their resolution.

        Args:
            pixels: (R, C/8, 4h, 4w).
            details: (1, K, 4h, 4w), shared by all rows, or (R, K, 4h, 4w).
            drawn: (R, CHANNELS, 4h, 4w), see `lib.networks.prompt_maps`.

        Returns:
            (R, C/8, 4h, 4w).
        """
        joined = self.fine_in(torch.cat([pixels, drawn.to(pixels.dtype)], dim=1))
        fine = functional.gelu(joined + self.details_in(details))
        wide = functional.interpolate(self.coarse(fine), scale_factor=2.0, mode="nearest")
        refined: Tensor = pixels + self.fine_out(functional.gelu(fine + wide))
        return refined

    def rate(
        self, logits: Tensor, refined: Tensor, tokens: Tensor, details: Tensor, drawn: Tensor
    ) -> Tensor:
        """What the masks themselves add to their predicted IoU.

        Args:
            logits: (R, M, 4h, 4w).
            refined: (R, C/8, 4h, 4w), what `refine` gave.
            tokens: (R, 1 + M, C): that of the predicted IoU, then one for each mask.
            details: as for `refine`.
            drawn: as for `refine`.

        Returns:
            (R, M).
        """
        details = details.expand(len(refined), -1, -1, -1)
        pixels = torch.cat([refined.float(), details.float(), drawn.float()], dim=1)
        rated: Tensor = self.rating(logits, pixels, tokens)
        return rated

    def rating_parts(self) -> tuple[nn.Module, ...]:
        """The parts that say how good masks are, and take no part in drawing them."""
        return self.iou_prediction_head, self.rating

"""How good finished masks are, judged by the masks themselves.

SAM predicts the IoU of its masks from a token that was there before them and never sees them. With
a small network that is the weakest part: of four masks the right one is often among them, and not
chosen. Here each mask is laid on the image once more, as Mask Scoring R-CNN does it (Huang et al.
2019, arXiv:1903.00241): what is inside of it and what around it, how sharp it is, and how far the
other masks agree. What follows from that is added to SAM's own prediction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_FACTS = 5
_WIDTH = 128
_AROUND = 9
"""Edge in pixels of the neighbourhood that counts as the surroundings of a mask."""


class MaskRating(nn.Module):
    """Corrects predicted IoUs. Without training it corrects nothing.

    Nothing is learned through its inputs: it judges masks, it does not change them.

    Args:
        token_channels: C of the decoder's tokens.
        pixel_channels: K of what is known of each pixel.
    """

    def __init__(self, token_channels: int, pixel_channels: int) -> None:
        super().__init__()
        seen = 2 * token_channels + 2 * pixel_channels
        self.norm = nn.LayerNorm(seen)
        self.hidden = nn.Linear(seen + _FACTS, _WIDTH)
        self.deeper = nn.Linear(_WIDTH, _WIDTH)
        self.correction = nn.Linear(_WIDTH, 1)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def forward(self, logits: Tensor, pixels: Tensor, tokens: Tensor) -> Tensor:
        """Judge M masks of each of R rows.

        Args:
            logits: (R, M, h, w).
            pixels: (R, K, h, w).
            tokens: (R, 1 + M, C), that of SAM's prediction first, then one for each mask.

        Returns:
            (R, M), to be added to the predicted IoU.
        """
        # Sums over thousands of pixels need more than bfloat16.
        with torch.autocast(logits.device.type, enabled=False):
            logits, pixels, tokens = (t.detach().float() for t in (logits, pixels, tokens))
            first = tokens[:, :1].expand_as(tokens[:, 1:])
            seen = torch.cat([first, tokens[:, 1:], _laid_on(logits.sigmoid(), pixels)], dim=2)
            known = torch.cat([self.norm(seen), mask_facts(logits)], dim=2)
            hidden = functional.gelu(self.hidden(known))
            corrections: Tensor = self.correction(functional.gelu(self.deeper(hidden)))
        return corrections[..., 0]


def mask_facts(logits: Tensor) -> Tensor:
    """What can be said of masks without the image.

    Args:
        logits: (R, M, h, w), M at least 2.

    Returns:
        (R, M, 5) in 0..1: size, as the square root of its share of the frame; stability under
        another threshold; mean probability inside; mean and best IoU with the row's other masks.
    """
    inside = logits.sigmoid()
    # Of a mask that is surely empty every sum is 0.
    sizes = inside.sum(dim=(2, 3)).clamp(min=1e-6)
    widest = (logits + 1).sigmoid().sum(dim=(2, 3)).clamp(min=1e-6)
    stability = (logits - 1).sigmoid().sum(dim=(2, 3)) / widest
    sureness = inside.square().sum(dim=(2, 3)) / sizes
    flat = inside.flatten(2)
    shared = flat @ flat.transpose(1, 2)
    agreement = shared / (sizes[:, :, None] + sizes[:, None] - shared)
    others = 1.0 - torch.eye(logits.shape[1], device=logits.device)
    mean = (agreement * others).sum(dim=2) / others.sum(dim=1)
    best = (agreement * others).amax(dim=2)
    size = (sizes / flat.shape[2]).sqrt()
    return torch.stack([size, stability, sureness, mean, best], dim=2)


def _laid_on(inside: Tensor, pixels: Tensor) -> Tensor:
    """Mean pixel inside and around masks: (R, M, h, w) and (R, K, h, w) to (R, M, 2 K)."""
    # Along one axis after the other it is the same maximum for a fifth of the comparisons.
    rows = functional.max_pool2d(inside, (_AROUND, 1), stride=1, padding=(_AROUND // 2, 0))
    near = functional.max_pool2d(rows, (1, _AROUND), stride=1, padding=(0, _AROUND // 2))
    means = []
    for weights in (inside, near - inside):
        flat = weights.flatten(2)
        total = flat.sum(dim=2, keepdim=True).clamp(min=1e-3)
        means.append(flat @ pixels.flatten(2).transpose(1, 2) / total)
    return torch.cat(means, dim=2)

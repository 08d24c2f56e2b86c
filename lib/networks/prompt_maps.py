"""Prompts drawn as maps, beside SAM's tokens for them.

A token says where a click is in numbers, and the decoder must learn to find the place. A map shows
the place, as interactive segmentation did before SAM (Sofiiuk et al. 2021, arXiv:2102.06583), and
convolutions can use it at once: a small network learns several times faster from both.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import PromptEncoder
from torch import Tensor, nn

SIGMAS = (1.0, 5.0)
"""Of the spots drawn for a click, in pixels of the map: the place, and its surroundings."""
CHANNELS = 2 * len(SIGMAS) + 3
FOREGROUND, BACKGROUND = 1, 0


class MapPromptEncoder(PromptEncoder):  # type: ignore[misc]  # segment-anything has no types
    """SAM's prompt encoder, and a few convolutions from maps to its dense embedding.

    Args:
        embed_dim, image_embedding_size, input_image_size, mask_in_chans: see SAM's.
    """

    def __init__(
        self,
        embed_dim: int,
        image_embedding_size: tuple[int, int],
        input_image_size: tuple[int, int],
        mask_in_chans: int,
    ) -> None:
        super().__init__(embed_dim, image_embedding_size, input_image_size, mask_in_chans)
        self.maps = nn.Sequential(
            nn.Conv2d(CHANNELS, 24, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(48, embed_dim, 1),
        )

    def draw(
        self,
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> Tensor:
        """Draw R rows of prompts, of which at least one kind is given.

        Args:
            points: (R, N, 2) x, y; this and the next three as in `lib.networks.sam.PromptTensors`.
            labels: (R, N).
            boxes: (R, 4).
            masks: (R, 1, L, L).

        Returns:
            (R, CHANNELS, L, L) in 0..1 but for the mask's: spots of foreground clicks for each of
            `SIGMAS`, then of background clicks; the inside of the box; the last probabilities, from
            -1 to 1; whether there are any.
        """
        size: int = self.mask_input_size[0]
        scale = size / self.input_image_size[0]
        given = next(t for t in (masks, boxes, points) if t is not None)
        maps = torch.zeros(len(given), CHANNELS, size, size, device=given.device)
        if points is not None and labels is not None:
            maps[:, : 2 * len(SIGMAS)] = _spots(points, labels, size, scale)
        if boxes is not None:
            maps[:, -3] = _insides(boxes, size, scale)
        if masks is not None:
            maps[:, -2] = 2.0 * masks[:, 0].float() - 1.0
            maps[:, -1] = 1.0
        return maps


def _spots(points: Tensor, labels: Tensor, size: int, scale: float) -> Tensor:
    """Clicks (R, N, 2) x, y in pixels of the network's frame as (R, 4, L, L)."""
    places = torch.arange(size, device=points.device, dtype=torch.float32)
    away = places - ((points.float() + 0.5) * scale - 0.5)[..., None]
    kinds = [(labels == kind)[..., None] for kind in (FOREGROUND, BACKGROUND)]
    drawn = []
    for kind in kinds:
        for sigma in SIGMAS:
            x, y = torch.exp(away.square() / (-2 * sigma**2)).unbind(dim=2)
            drawn.append(torch.einsum("rny,rnx->rnyx", y * kind, x).amax(dim=1))
    return torch.stack(drawn, dim=1)


def _insides(boxes: Tensor, size: int, scale: float) -> Tensor:
    """Boxes (R, 4) x0, y0, x1, y1 as (R, L, L): the share of each pixel that is inside."""
    edges = torch.arange(size + 1, device=boxes.device, dtype=torch.float32)
    spans = []
    for axis in (1, 0):
        low = boxes[:, axis, None] * scale
        high = (boxes[:, axis + 2, None] + 1.0) * scale
        covered = torch.minimum(edges[1:], high) - torch.maximum(edges[:-1], low)
        spans.append(covered.clamp(0.0, 1.0))
    return torch.einsum("ry,rx->ryx", *spans)

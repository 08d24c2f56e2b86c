"""How like the clicked places each voxel of a volume is: a start for following a click.

A click says which tissue is meant. A network can find that out by itself, but needs long to learn
it; comparing what is at a voxel with what is at the clicks says it at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

LIKENESS_CHANNELS = 6
PLAIN = 0
"""The detail that is the volume itself, averaged; the others are learned."""
_WIDTHS = (0.15, 0.5)
"""Differences of standard scores at which a voxel is no longer much like the clicked ones."""
_FLOOR = 1e-6


def likeness(details: Tensor, spots: Tensor) -> Tensor:
    """Compare all voxels with those at clicks.

    Args:
        details: (1 or R, K, L, L, L); channel `PLAIN` in standard scores.
        spots: (R, 2, L, L, L), narrow spots in 0..1 at foreground and at background clicks.

    Returns:
        (R, LIKENESS_CHANNELS, L, L, L) in 0..1, for foreground, then for background: likeness of
        the plain values at each of two widths, and of all details. 0 without a click of that kind.
    """
    details = details.float()
    # The middle of a spot alone: next to a small object there is something else.
    weights = spots.float() ** 4
    sums = weights.flatten(2).sum(dim=2)
    clicked = torch.einsum("rsdhw,rkdhw->rsk", weights, details.expand(len(spots), -1, -1, -1, -1))
    clicked = clicked / sums[..., None].clamp(min=_FLOOR)
    given = (sums > _FLOOR).float()[..., None, None, None]
    alike = []
    for kind in range(2):
        away = (details - clicked[:, kind, :, None, None, None]).square()
        plain = [torch.exp(away[:, PLAIN] / (-2 * width**2)) for width in _WIDTHS]
        alike += [channel * given[:, kind] for channel in (*plain, torch.exp(-away.mean(dim=1)))]
    return torch.stack(alike, dim=1)

"""Masks are rated by what they are, and ratings teach nothing to what they are made of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib.networks.mask_rating import MaskRating, mask_facts

ROWS, MASKS, SIZE, PIXELS, TOKENS = 2, 3, 32, 5, 8


def squares(*boxes: tuple[int, int, int, int]) -> Tensor:
    """Logits (1, M, SIZE, SIZE) of sharp rectangles x0, y0, x1, y1."""
    logits = torch.full((1, len(boxes), SIZE, SIZE), -20.0)
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        logits[0, number, y0:y1, x0:x1] = 20.0
    return logits


def inputs(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    return (
        3 * torch.randn(ROWS, MASKS, SIZE, SIZE),
        torch.randn(ROWS, PIXELS, SIZE, SIZE),
        torch.randn(ROWS, 1 + MASKS, TOKENS),
    )


def trained(seed: int = 0) -> MaskRating:
    torch.manual_seed(seed)
    rating = MaskRating(TOKENS, PIXELS)
    torch.nn.init.normal_(rating.correction.weight)
    return rating


def test_facts_of_known_masks() -> None:
    half, whole, apart = (0, 0, 16, 8), (0, 0, 16, 16), (20, 20, 28, 28)
    facts = mask_facts(squares(half, whole, apart))[0]
    size, stability, sureness, mean, best = facts.unbind(dim=1)
    torch.testing.assert_close(size**2 * SIZE**2, torch.tensor([128.0, 256.0, 64.0]))
    torch.testing.assert_close(stability, torch.ones(3))
    torch.testing.assert_close(sureness, torch.ones(3))
    torch.testing.assert_close(best, torch.tensor([0.5, 0.5, 0.0]))
    torch.testing.assert_close(mean, torch.tensor([0.25, 0.25, 0.0]))


def test_a_vague_mask_is_less_stable_and_less_sure() -> None:
    sharp = squares((4, 4, 20, 20), (4, 4, 20, 20))
    facts = mask_facts(torch.cat([sharp, sharp / 20]))
    assert (facts[1, :, 1:3] < facts[0, :, 1:3]).all()


def test_empty_and_full_masks_are_numbers() -> None:
    logits = torch.stack([torch.full((2, SIZE, SIZE), v) for v in (-200.0, 200.0)])
    assert mask_facts(logits).isfinite().all()
    pixels, tokens = torch.randn(2, PIXELS, SIZE, SIZE), torch.randn(2, 3, TOKENS)
    assert trained()(logits, pixels, tokens).isfinite().all()


def test_untrained_it_corrects_nothing() -> None:
    assert not MaskRating(TOKENS, PIXELS)(*inputs(1)).any()


def test_every_mask_is_judged_by_its_own_pixels_and_token() -> None:
    logits, pixels, tokens = inputs(2)
    order = torch.tensor([2, 0, 1])
    turned = torch.cat([tokens[:, :1], tokens[:, 1:][:, order]], dim=1)
    rating = trained()
    with torch.no_grad():
        straight = rating(logits, pixels, tokens)
        shuffled = rating(logits[:, order], pixels, turned)
    torch.testing.assert_close(shuffled, straight[:, order])
    assert straight.std() > 0


@pytest.mark.parametrize("inside", [True, False])
def test_it_sees_the_pixels_inside_and_around_but_not_those_far_away(inside: bool) -> None:
    logits = squares((8, 8, 16, 16), (8, 8, 16, 16))
    _, pixels, tokens = inputs(3)
    rating = trained()

    def change(y: int, x: int) -> float:
        other = pixels[:1].clone()
        other[0, :, y, x] += 5.0
        with torch.no_grad():
            before, after = (rating(logits, p, tokens[:1, :3]) for p in (pixels[:1], other))
        return float((before - after).abs().max())

    near = change(10, 10) if inside else change(10, 18)
    assert near > 1e-4
    assert change(18, 18) > 1e-4  # around means corners too
    assert change(28, 28) < near / 100


def test_it_learns_nothing_through_masks_pixels_and_tokens() -> None:
    given = [t.requires_grad_() for t in inputs(4)]
    rating = trained()
    rating(*given).sum().backward()
    assert all(t.grad is None for t in given)
    assert all(p.grad is not None and p.grad.any() for p in rating.parameters())

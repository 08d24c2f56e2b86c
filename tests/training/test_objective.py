"""What a step is to make small."""

from __future__ import annotations

import pytest
import torch

from lib.training.objective import PublishedObjective, RowObjective, shown_masks
from tests.support import golden


def quadrant(*corners: tuple[int, int]) -> torch.Tensor:
    """Targets (R, 256, 256): one corner of the image each."""
    targets = torch.zeros(len(corners), 256, 256, dtype=torch.bool)
    for target, (row, column) in zip(targets, corners, strict=True):
        target[row * 128 : (row + 1) * 128, column * 128 : (column + 1) * 128] = True
    return targets


def logits_of(targets: torch.Tensor) -> torch.Tensor:
    """Logits (R, 64, 64) that give exactly these masks."""
    return torch.where(targets[:, ::4, ::4], 8.0, -8.0)


def test_the_best_of_the_candidates_learns_whatever_the_network_thinks_of_it() -> None:
    target = quadrant((0, 0))
    right, wrong = logits_of(target), logits_of(quadrant((1, 1)))
    low_res = torch.stack([wrong, right], dim=1).requires_grad_()
    iou = torch.tensor([[0.9, 0.1]], requires_grad=True)
    RowObjective()(low_res, iou, target).backward()
    assert low_res.grad[0, 0].abs().max() == 0
    assert low_res.grad[0, 1].abs().max() > 0
    # Both predicted IoUs are wrong, and both learn.
    assert iou.grad[0, 0] > 0 > iou.grad[0, 1]


def test_the_published_objective_teaches_the_one_with_the_highest_predicted_iou() -> None:
    target = quadrant((0, 0))
    low_res = torch.stack([logits_of(quadrant((1, 1))), logits_of(target)], dim=1).requires_grad_()
    iou = torch.tensor([[0.9, 0.1]], requires_grad=True)
    PublishedObjective()(low_res, iou, target).backward()
    assert low_res.grad[0, 0].abs().max() > 0
    assert low_res.grad[0, 1].abs().max() == 0


def test_a_row_counts_as_a_row() -> None:
    """The mean over rows of our loss; the published sums run over the batch."""
    targets = quadrant((0, 0), (1, 1))
    low_res = torch.stack([logits_of(targets[:1])[0] * 0.1, logits_of(targets[:1])[0]])[:, None]
    iou = torch.tensor([[0.5], [0.5]])
    ours = RowObjective()
    alone = [ours(low_res[n : n + 1], iou[n : n + 1], targets[n : n + 1]) for n in (0, 1)]
    assert torch.allclose(ours(low_res, iou, targets), (alone[0] + alone[1]) / 2)
    published = PublishedObjective()
    alone = [published(low_res[n : n + 1], iou[n : n + 1], targets[n : n + 1]) for n in (0, 1)]
    assert not torch.allclose(published(low_res, iou, targets), (alone[0] + alone[1]) / 2)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_a_perfect_answer_costs_next_to_nothing_at_any_size(size: int) -> None:
    target = quadrant((0, 1))
    loss = RowObjective(size=size)(logits_of(target)[:, None] * 3, torch.ones(1, 1), target)
    assert loss < 0.05


def test_what_a_user_would_see() -> None:
    target = quadrant((0, 0))
    low_res = torch.stack([logits_of(target), logits_of(quadrant((1, 1)))], dim=1)
    masks, logits = shown_masks(golden.tiny_model(), low_res, torch.tensor([[0.9, 0.1]]), 256)
    assert torch.equal(logits[0, 0], low_res[0, 0])
    assert (masks[0] ^ target[0]).float().mean() < 0.02


def test_the_single_mask_learns_by_its_share() -> None:
    torch.manual_seed(0)
    targets = torch.zeros(2, 64, 64, dtype=torch.bool)
    targets[:, 10:40, 20:50] = True
    iou = torch.zeros(2, 4)
    for share, learns in ((0.0, False), (0.5, True)):
        # The second candidate is right, so without a share the single mask learns nothing.
        logits = torch.full((2, 4, 64, 64), -4.0)
        logits[:, 2] = targets.float() * 8 - 4
        logits.requires_grad_()
        RowObjective(size=64, single_share=share)(logits, iou, targets).backward()
        assert logits.grad is not None
        assert bool(logits.grad[:, 0].any()) == learns
        assert logits.grad[:, 2].any()
        assert not logits.grad[:, [1, 3]].any()


@pytest.mark.parametrize("size", [64, 128, 256])
@pytest.mark.parametrize("edge", [101, 102, 103, 104])
def test_masks_are_not_drawn_to_one_side(size: int, edge: int) -> None:
    """Logits and target are symmetric, so what is learned must be; wherever the edges fall."""
    target = torch.zeros(1, 256, 256, dtype=torch.bool)
    target[:, edge : 256 - edge, edge : 256 - edge] = True
    logits = torch.zeros(1, 1, 64, 64, requires_grad=True)
    RowObjective(size=size)(logits, torch.zeros(1, 1), target).backward()
    assert logits.grad is not None
    learned = logits.grad[0, 0]
    assert learned.abs().max() > 0
    for axis in (0, 1):
        assert torch.allclose(learned, learned.flip(axis), atol=1e-9)

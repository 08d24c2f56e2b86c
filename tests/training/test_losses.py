"""The losses: SAM-Med2D's against its golden numbers, ours against its promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.training.losses import (
    LossTerms,
    LossWeights,
    default_loss,
    dice_ce_loss,
    dice_ce_per_row,
    focal_per_row,
    iou_of_masks,
    published_loss,
    row_losses,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "samed2d_losses.npz"
CASES = ("b1", "b6", "empty", "b3_one_empty", "full", "extreme", "all_positive_logits")
TOLERANCE = 1e-6

# No deadline: a busy machine must not fail a test.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

Loss = Callable[..., LossTerms]


def relative_error(got: torch.Tensor, reference: np.ndarray) -> float:
    """Largest absolute difference over the larger of 1 and the largest absolute reference."""
    difference = np.abs(got.detach().numpy() - reference).max()
    return float(difference / max(1.0, np.abs(reference).max()))


def random_rows(seed: int, rows: int = 3, scale: float = 3.0) -> tuple[torch.Tensor, ...]:
    """Logits (rows, 1, 8, 9), a 0/1 target of that shape, and predicted IoU (rows, 1)."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn((rows, 1, 8, 9), generator=generator)
    target = (torch.rand((rows, 1, 8, 9), generator=generator) > 0.6).float()
    return logits, target, torch.rand((rows, 1), generator=generator)


@pytest.mark.parametrize("case", CASES)
def test_published_loss_and_gradients_match_golden(case: str) -> None:
    with np.load(GOLDEN) as file:
        golden = {
            k.removeprefix(f"{case}."): file[k] for k in file.files if k.startswith(f"{case}.")
        }
    logits = torch.from_numpy(golden["pred"]).requires_grad_()
    predicted_iou = torch.from_numpy(golden["pred_iou"]).requires_grad_()
    terms = published_loss(logits, torch.from_numpy(golden["mask"]), predicted_iou)
    terms.total.backward()
    assert relative_error(terms.total, golden["total"]) <= TOLERANCE
    assert relative_error(terms.focal, golden["focal"]) <= TOLERANCE
    assert relative_error(terms.dice, golden["dice"]) <= TOLERANCE
    assert relative_error(terms.iou, golden["maskiou"]) <= TOLERANCE
    # Mask gradients are far below 1, where the common measure would pass anything.
    scale = np.abs(golden["grad_pred"]).max()
    assert relative_error(logits.grad / scale, golden["grad_pred"] / scale) <= 1e-5
    assert relative_error(predicted_iou.grad, golden["grad_iou"]) <= TOLERANCE


def test_published_loss_saturates_where_ours_keeps_pulling() -> None:
    logits = torch.full((1, 1, 4, 4), 200.0, requires_grad=True)
    target, predicted_iou = torch.zeros_like(logits), torch.zeros((1, 1))
    focal = published_loss(logits, target, predicted_iou).focal
    assert focal.item() == pytest.approx(0.75 * 27.631, rel=1e-4)
    assert torch.autograd.grad(focal, logits)[0].abs().max() == 0
    ours = default_loss(logits, target, predicted_iou).focal
    assert ours.item() == pytest.approx(0.75 * 200)
    assert torch.autograd.grad(ours, logits)[0].min() > 0


def test_published_iou_target_of_two_empty_masks_is_one() -> None:
    logits = torch.full((2, 1, 4, 4), -200.0)
    terms = published_loss(logits, torch.zeros_like(logits), torch.tensor([[1.0], [0.5]]))
    assert terms.iou.item() == pytest.approx(0.125)


@pytest.mark.parametrize("loss", [published_loss, default_loss])
def test_weights_scale_their_terms(loss: Loss) -> None:
    terms = loss(*random_rows(0), LossWeights(focal=2.0, dice=3.0, iou=5.0))
    expected = 2 * terms.focal + 3 * terms.dice + 5 * terms.iou
    torch.testing.assert_close(terms.total, expected)


def test_default_loss_is_the_mean_of_the_rows_taken_alone() -> None:
    logits, target, predicted_iou = random_rows(1)
    together = row_losses(logits, target, predicted_iou)
    alone = [
        default_loss(logits[i : i + 1], target[i : i + 1], predicted_iou[i : i + 1])
        for i in range(3)
    ]
    for part in ("total", "focal", "dice", "iou"):
        rows = torch.stack([getattr(terms, part) for terms in alone])
        torch.testing.assert_close(getattr(together, part), rows)
        torch.testing.assert_close(getattr(together.mean(), part), rows.mean())


def test_our_focal_is_the_textbook_formula_where_that_is_stable() -> None:
    logits, target, _ = random_rows(2)
    z, t = logits.flatten(1).double(), target.flatten(1).double()
    p = torch.sigmoid(z)
    p_right, alpha = p * t + (1 - p) * (1 - t), 0.25 * t + 0.75 * (1 - t)
    expected = (-alpha * (1 - p_right) ** 2 * p_right.log()).mean(dim=1)
    torch.testing.assert_close(focal_per_row(z, t), expected)


@relaxed
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-6, 1.0, 50.0, 1e4, 1e8]))
def test_our_loss_and_gradient_are_finite_for_extreme_logits(seed: int, scale: float) -> None:
    logits, target, predicted_iou = random_rows(seed, scale=scale)
    logits.requires_grad_()
    terms = default_loss(logits, target, predicted_iou)
    terms.total.backward()
    assert torch.isfinite(terms.total)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_our_loss_is_near_zero_for_a_sure_and_right_answer_even_an_empty_one(fill: float) -> None:
    target = torch.full((2, 1, 8, 8), fill)
    terms = default_loss(80.0 * (2 * target - 1), target, torch.ones((2, 1)))
    assert terms.total.item() < 1e-6


def test_our_gradient_agrees_with_finite_differences() -> None:
    target = random_rows(3)[1]
    logits = random_rows(4)[0].flatten(1).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: focal_per_row(z, target.flatten(1).double()), (logits,)
    )


def test_the_iou_target_is_that_of_the_thresholded_masks_and_two_empty_ones_agree() -> None:
    target = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).float()
    logits = torch.tensor([[0.1, -0.1, 0.1, -3], [-0.1] * 4, [9, -1, -1, -1], [9.0] * 4])
    torch.testing.assert_close(iou_of_masks(logits, target), torch.tensor([1 / 3, 1.0, 0.0, 1.0]))


def test_our_iou_term_trains_the_iou_head_and_not_the_mask_unlike_the_published_one() -> None:
    logits, target, predicted_iou = random_rows(5)
    logits.requires_grad_()
    predicted_iou.requires_grad_()
    only_iou = LossWeights(focal=0.0, dice=0.0, iou=1.0)
    default_loss(logits, target, predicted_iou, only_iou).total.backward()
    assert logits.grad.abs().max() == 0
    true_iou = iou_of_masks(logits.flatten(1), target.flatten(1))[:, None]
    torch.testing.assert_close(predicted_iou.grad, 2 * (predicted_iou.detach() - true_iou) / 3)
    published_loss(logits, target, predicted_iou, only_iou).total.backward()
    assert logits.grad.abs().max() > 0


def test_shapes_with_and_without_channel_and_bool_targets_give_the_same_loss() -> None:
    logits, target, predicted_iou = random_rows(6)
    reference = default_loss(logits, target, predicted_iou).total
    flat = default_loss(logits[:, 0], target[:, 0].bool(), predicted_iou[:, 0]).total
    torch.testing.assert_close(flat, reference, rtol=0, atol=0)


@pytest.mark.parametrize("loss", [published_loss, default_loss])
def test_half_precision_inputs_are_computed_in_float32(loss: Loss) -> None:
    logits, target, predicted_iou = (tensor.bfloat16() for tensor in random_rows(8))
    terms = loss(logits, target, predicted_iou)
    expected = loss(logits.float(), target.float(), predicted_iou.float())
    torch.testing.assert_close(terms.total, expected.total, rtol=0, atol=0)


@pytest.mark.parametrize("loss", [published_loss, default_loss])
def test_shapes_that_do_not_belong_together_are_refused(loss: Loss) -> None:
    logits, target, predicted_iou = random_rows(7)
    with pytest.raises(ValueError, match="one shape"):
        loss(logits, target[:, 0], predicted_iou)
    with pytest.raises(ValueError, match="one a row"):
        loss(logits, target, predicted_iou[:1])


@pytest.fixture(scope="module")
def volumes() -> dict[str, np.ndarray]:
    with np.load(GOLDEN.with_name("sammed3d_loss.npz")) as file:
        return {key: file[key] for key in file.files}


@pytest.mark.parametrize("kind", [torch.float32, torch.int64, torch.bool])
def test_the_loss_of_volumes_and_its_gradient_are_sam_med3ds(
    volumes: dict[str, np.ndarray], kind: torch.dtype
) -> None:
    logits = torch.from_numpy(volumes["pred"]).requires_grad_()
    loss = dice_ce_loss(logits, torch.from_numpy(volumes["target"]).to(kind))
    loss.backward()
    assert logits.grad is not None
    assert relative_error(loss, volumes["value"]) < TOLERANCE
    assert relative_error(logits.grad, volumes["grad"]) < TOLERANCE


def test_the_loss_of_volumes_counts_rows_alike_and_takes_empty_ones() -> None:
    logits, target, _ = random_rows(9)
    target[0] = 0
    rows = dice_ce_per_row(logits, target)
    assert torch.isfinite(rows).all()
    torch.testing.assert_close(rows[1:2], dice_ce_per_row(logits[1:2], target[1:2]))
    torch.testing.assert_close(dice_ce_loss(logits, target), rows.mean())


def test_a_volume_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        dice_ce_loss(torch.zeros(1, 1, 4, 4, 4), torch.zeros(1, 4, 4, 4))

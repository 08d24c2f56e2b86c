"""The simulated annotators; SAM-Med2D's own is held to the original in test_published_recipe."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.training.annotator import Annotator, InteractionPlan
from tests.support.small_sam import disc

TARGETS = np.stack([disc(80, 90, 40), disc(180, 170, 50)])
NOTHING = np.zeros_like(TARGETS)
LOW_RES = torch.zeros(2, 1, 64, 64)


def annotator(seed: int = 0, rows: tuple[int, ...] | None = None, **plan: object) -> Annotator:
    interaction = InteractionPlan(**plan)  # type: ignore[arg-type]
    targets = TARGETS if rows is None else TARGETS[: len(rows)]
    return Annotator(targets, interaction, np.random.default_rng(seed), rows)


def test_a_box_first_when_all_are_boxes() -> None:
    prompts = annotator(box_share=1.0, both_share=0.0).first()
    assert prompts.boxes is not None and prompts.boxes.shape == (2, 4)
    assert prompts.points is None and prompts.masks is None


def test_a_click_inside_the_target_when_there_are_no_boxes() -> None:
    prompts = annotator(box_share=0.0, both_share=0.0).first()
    assert prompts.boxes is None and prompts.points is not None and prompts.labels is not None
    assert (prompts.labels == 1).all()
    for target, (point,) in zip(TARGETS, prompts.points.long().tolist(), strict=True):
        assert target[point[1], point[0]]


def test_clicks_stay_and_the_mask_goes_along() -> None:
    user = annotator(box_share=0.0, both_share=0.0)
    first = user.first().points
    second = user.correct(NOTHING, LOW_RES)
    third = user.correct(NOTHING, LOW_RES)
    assert second.points.shape == (2, 2, 2) and third.points.shape == (2, 3, 2)
    assert torch.equal(third.points[:, :1], first)
    assert torch.equal(third.points[:, :2], second.points)
    assert torch.equal(third.masks, torch.full((2, 1, 64, 64), 0.5))


def test_a_covered_pixel_is_corrected_with_a_background_click() -> None:
    user = annotator(box_share=0.0, both_share=0.0)
    user.first()
    everything = np.ones_like(TARGETS)
    prompts = user.correct(everything, LOW_RES)
    assert (prompts.labels[:, 1] == 0).all()
    for target, row in zip(TARGETS, prompts.points[:, 1].long().tolist(), strict=True):
        assert not target[row[1], row[0]]


def test_a_perfect_mask_gets_no_further_click() -> None:
    user = annotator(box_share=0.0, both_share=0.0)
    user.first()
    assert (user.correct(TARGETS, LOW_RES).labels[:, 1] == -1).all()


def test_mask_only_steps_show_nothing_else_and_add_no_click() -> None:
    user = annotator(box_share=0.5, mask_only_share=1.0)
    user.first()
    prompts = user.correct(NOTHING, LOW_RES)
    assert prompts.points is None and prompts.boxes is None and prompts.masks is not None


@pytest.mark.parametrize("box", ["edges", "shift"])
def test_boxes_are_off_by_a_bit_in_the_way_of_the_plan(box: str) -> None:
    exact = torch.tensor([[41.0, 51.0, 120.0, 130.0], [131.0, 121.0, 230.0, 220.0]])
    boxes = torch.stack(
        [annotator(seed, box=box, box_share=1.0, both_share=0.0).first().boxes for seed in range(8)]
    )
    sides = boxes[..., 2:] - boxes[..., :2]
    same_size = torch.allclose(sides, exact[:, 2:] - exact[:, :2])
    assert same_size == (box == "shift")
    assert not torch.allclose(boxes[0], boxes[1])
    assert (boxes - exact).abs().max() < 40


@pytest.mark.parametrize("clicks", ["mixed", "uniform"])
def test_clicks_lie_on_mistakes_in_both_ways(clicks: str) -> None:
    half = TARGETS.copy()
    half[:, :, 128:] = ~half[:, :, 128:]
    for seed in range(5):
        user = annotator(seed, clicks=clicks, box_share=0.0, both_share=0.0)
        user.first()
        prompts = user.correct(half, LOW_RES)
        for shown, target, point in zip(
            half, TARGETS, prompts.points[:, 1].long().tolist(), strict=True
        ):
            assert shown[point[1], point[0]] != target[point[1], point[0]]


def test_a_row_gets_the_same_prompts_in_any_company() -> None:
    """Otherwise the processes of a distributed run would learn something else than one alone."""
    together = annotator(3, rows=(10, 11), box_share=0.0)
    alone = Annotator(
        TARGETS[1:], InteractionPlan(box_share=0.0), np.random.default_rng(3), rows=(11,)
    )
    assert torch.equal(together.first().points[1:], alone.first().points)
    assert torch.equal(
        together.correct(NOTHING, LOW_RES).points[1:],
        alone.correct(NOTHING[1:], LOW_RES[1:]).points,
    )


def test_the_seed_decides() -> None:
    first, same, other = (annotator(seed, box_share=0.0).first() for seed in (1, 1, 2))
    assert torch.equal(first.points, same.points)
    assert not torch.equal(first.points, other.points)


def test_the_single_mask_is_asked_for_as_often_as_planned() -> None:
    user = annotator(single_share=0.25)
    asked = [user.asks_for_candidates() for _ in range(400)]
    assert 0.6 < np.mean(asked) < 0.9

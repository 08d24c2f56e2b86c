"""Objects that are found without a click."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from lib.errors import PromptError
from lib.inference.decoder import Embedding, PromptDecoder
from lib.inference.proposals import (
    Candidates,
    Filter,
    busy_points,
    decode_points,
    distinct,
    grid_points,
    propose,
    select,
    stability,
    trusted,
)
from lib.prompts import Prompt
from tests.support.small_sam import SMALL, disc, small_sam

CPU = torch.device("cpu")
OBJECTS = ((16, 16, 10), (46, 20, 8), (40, 50, 9))
"""(column, row, radius) of the discs that `Discs` sees, on the grid of the masks."""


def embedding(height: int = 120, width: int = 200) -> Embedding:
    values = torch.Generator().manual_seed(0)
    return Embedding(torch.randn(1, 32, 16, 16, generator=values), height, width)


class Discs(PromptDecoder):
    """Answers a click with the disc under it, sharp and sure, or with noise and no trust."""

    batches: list[int]

    def candidate_rows(self, embedding, prompts):  # type: ignore[no-untyped-def]
        self.batches.append(len(prompts))
        logits = np.full((len(prompts), 2, 64, 64), -0.5, np.float32)
        iou = np.full((len(prompts), 2), 0.2, np.float32)
        for row, prompt in enumerate(prompts):
            x, y = prompt.points[0]
            column, line = (x + 0.5) * 64 / embedding.width, (y + 0.5) * 64 / embedding.height
            for number, (cx, cy, radius) in enumerate(OBJECTS):
                if np.hypot(column - cx, line - cy) < radius - 1:
                    logits[row, 1] = np.where(disc(cx, cy, radius, 64), 8.0, -8.0)
                    iou[row, 1] = 0.9 - 0.05 * number
        return logits, iou


def discs() -> Discs:
    decoder = Discs(small_sam().eval(), CPU)
    decoder.batches = []
    return decoder


def test_points_are_the_middles_of_equal_fields() -> None:
    assert grid_points(4, 8, 2) == ((1.5, 0.5), (5.5, 0.5), (1.5, 2.5), (5.5, 2.5))
    for x, y in grid_points(1, 3, 8):
        Prompt(points=((x, y),), labels=(1,)).validate_for(1, 3)


def test_only_fields_that_show_something_are_busy() -> None:
    grey = np.full((80, 160), 7, np.uint8)
    assert busy_points(grey, 8) == ()
    grey[:10, 20:40] = np.arange(20)
    assert busy_points(grey, 8) == (grid_points(80, 160, 8)[1],)
    noise = np.random.default_rng(0).integers(0, 255, (80, 160), dtype=np.uint8)
    assert busy_points(noise, 8) == grid_points(80, 160, 8)
    assert len(busy_points(noise[:3, :5], 8)) <= 64


def test_every_object_is_found_once_the_surest_first() -> None:
    found = propose(discs(), embedding(), grid=8)
    assert [p.iou for p in found] == pytest.approx([0.9, 0.85, 0.8])
    for proposal, (x, y, radius) in zip(found, OBJECTS, strict=True):
        assert np.array_equal(proposal.mask, disc(x, y, radius, 64))
        assert proposal.stability == 1.0
        assert proposal.low_res.logits.shape == (1, 64, 64)
        column, row = proposal.point[0] * 64 / 200, proposal.point[1] * 64 / 120
        assert np.hypot(column - x, row - y) < radius


def test_decodes_are_batched_and_handed_over_one_by_one() -> None:
    decoder, handed = discs(), []

    def run(work):  # type: ignore[no-untyped-def]
        handed.append(work)
        return work()

    decode_points(decoder, embedding(), grid_points(120, 200, 6), rows=16, run=run)
    assert decoder.batches == [16, 16, 4]
    assert len(handed) == 3


def test_rows_are_what_single_clicks_would_give() -> None:
    decoder, image = PromptDecoder(small_sam().eval(), CPU), embedding()
    points = grid_points(120, 200, 3)
    together = decode_points(decoder, image, points, rows=4)
    assert together.logits.shape == (9, SMALL.multimask_outputs, 64, 64)
    for row, point in enumerate(points):
        alone = decoder.candidates(image, Prompt(points=(point,), labels=(1,)))
        for number, answer in enumerate(alone):
            np.testing.assert_allclose(together.logits[row, number], answer.logits[0], atol=1e-4)
            assert together.iou[row, number] == pytest.approx(
                trusted(np.array(answer.iou)), abs=1e-5
            )


def test_a_click_beside_the_image_is_refused() -> None:
    with pytest.raises(PromptError):
        decode_points(PromptDecoder(small_sam().eval(), CPU), embedding(), [(500.0, 3.0)])


def rows(masks: Sequence[np.ndarray], iou: Sequence[float], height: float = 8.0) -> Candidates:
    logits = np.stack([np.where(m, height, -height) for m in masks]).astype(np.float32)
    count = len(masks)
    return Candidates(
        np.arange(2 * count, dtype=float).reshape(count, 2),
        np.zeros((count, 2), np.intp),
        logits[:, None],
        np.array(iou, np.float32)[:, None],
    )


def test_filters() -> None:
    masks = [disc(20, 20, r, 64) for r in (10, 12, 30)] + [disc(50, 50, 1, 64)]
    masks += [np.ones((64, 64), bool), np.zeros((64, 64), bool)]
    candidates = rows(masks, [0.8, 0.9, 0.85, 0.95, 0.95, 0.95])
    found = select(candidates, Filter())
    # The second and the first overlap; one pixel, everything and nothing are no objects.
    assert [p.iou for p in found] == pytest.approx([0.9, 0.85])
    assert [p.point for p in found] == [(2.0, 3.0), (4.0, 5.0)]
    assert len(select(candidates, Filter(max_overlap=0.9))) == 3
    assert len(select(candidates, Filter(most=1))) == 1
    assert select(candidates, Filter(min_iou=0.99)) == ()
    vague = rows(masks[:1], [0.9], height=0.5)
    assert select(vague, Filter()) == ()
    assert len(select(vague, Filter(min_stability=0.0))) == 1


def test_stability_is_the_overlap_of_two_thresholds() -> None:
    logits = np.full((1, 10, 10), -5, np.float32)
    logits[0, :4] = 5
    logits[0, 4] = 0.5
    assert stability(logits) == pytest.approx([0.8])
    assert stability(logits, margin=0.1) == pytest.approx([1.0])
    assert stability(np.full((2, 4, 4), -9, np.float32)).tolist() == [0, 0]


def test_no_mask_at_all_gives_none() -> None:
    assert distinct(np.zeros((0, 64, 64), bool), 0.5, 10) == []


def test_what_is_no_number_is_not_trusted() -> None:
    values = trusted(np.array([np.nan, -0.2, 0.5, 1.3], np.float32))
    assert values.tolist() == [0.0, 0.0, 0.5, 1.0]

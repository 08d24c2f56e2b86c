"""The simulated annotator of volumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.prompts.simulate import LegacyRandom
from lib.prompts.simulate3d import interior_voxel
from lib.training.annotator3d import Annotator3d, Interaction3d, PublishedAnnotator3d

SIZE, GRID, LOW = 32, 16, 8
CERTAIN = Interaction3d(clicks=4, interior_share=1.0, mask_only_share=0.0)
LOGITS = torch.randn(2, 1, LOW, LOW, LOW)


def targets() -> np.ndarray:
    """Two objects on the coarse grid."""
    masks = np.zeros((2, GRID, GRID, GRID), bool)
    masks[0, 2:9, 3:8, 4:13] = True
    masks[1, 10:13, 10:13, 10:13] = True
    return masks


def annotator(plan: Interaction3d = CERTAIN) -> Annotator3d:
    return Annotator3d(targets(), SIZE, LOW, plan, np.random.default_rng(0))


def test_first_clicks_are_inside_and_in_voxels_of_the_cube():
    prompts = annotator().first()
    assert prompts.masks.shape == LOGITS.shape and (prompts.masks == 0).all()
    assert prompts.points.shape == (2, 1, 3) and (prompts.labels == 1).all()
    for row, target in enumerate(targets()):
        # A coarse voxel is two wide: its middle lies between them.
        expected = np.array(interior_voxel(target).index) * 2 + 0.5
        np.testing.assert_array_equal(prompts.points[row, 0].numpy(), expected)


def test_clicks_accumulate_and_right_rows_keep_theirs():
    user = annotator()
    user.first()
    answers = targets()
    answers[0] = False
    prompts = user.correct(answers, LOGITS)
    assert prompts.masks is LOGITS
    assert prompts.labels.tolist() == [[1, 1], [1, -1]]
    answers[0] = True
    prompts = user.correct(answers, LOGITS)
    assert prompts.labels.tolist() == [[1, 1, 0], [1, -1, -1]]


def test_hasty_clicks_lie_on_mistakes():
    user = annotator(replace(CERTAIN, interior_share=0.0))
    first = user.first()
    for row, target in enumerate(targets()):
        index = ((first.points[row, 0] - 0.5) / 2).int()
        assert target[tuple(index)]


def test_now_and_then_only_the_last_answer_is_shown():
    user = annotator(replace(CERTAIN, mask_only_share=1.0))
    user.first()
    prompts = user.correct(~targets(), LOGITS)
    assert prompts.points is None and prompts.masks is LOGITS


@pytest.mark.parametrize("seed", range(5))
def test_the_published_user_clicks_once_a_step_and_twice_not_at_all(seed):
    user = PublishedAnnotator3d(targets(), SIZE, LOW, LegacyRandom(seed))
    steps = [user.first()]
    steps += [user.correct(np.zeros_like(targets()), LOGITS) for _ in range(user.steps - 1)]
    assert len(steps) == 11
    silent = [n for n, prompts in enumerate(steps) if prompts.points is None]
    assert len(silent) == 2 and 2 <= silent[0] <= 8 and silent[1] == 10
    assert (steps[0].masks == 0).all() and steps[0].masks.shape == (2, 1, LOW, LOW, LOW)
    assert all(p.points.shape == (2, 1, 3) for p in steps if p.points is not None)
    assert user.threshold == 0.5


def test_the_published_user_does_not_fail_where_nothing_is_wrong():
    user = PublishedAnnotator3d(targets(), SIZE, LOW, LegacyRandom(0))
    user.first()
    answers = targets()
    answers[0, 5, 5, 5] = False
    prompts = user.correct(answers, LOGITS)
    assert prompts.labels.tolist() == [[1], [-1]]

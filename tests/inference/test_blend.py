from __future__ import annotations

import numpy as np
import pytest

from lib.inference.blend import blend
from lib.inference.confidence import Judgement
from lib.inference.volume_network import Step
from tests.support.discs import disc

BELOW = Step(4, disc(20, 30, 8), Judgement(0.9, 0.8, 0.7))
ABOVE = Step(4, disc(26, 30, 8), Judgement(0.5, 0.4, 0.3))


def test_the_nearer_seed_counts_more():
    near_below, near_above = blend(BELOW, ABOVE, 3, 9), blend(BELOW, ABOVE, 0, 5)
    assert near_below is not None
    assert near_above is not None
    np.testing.assert_array_equal(near_below.answer.logits > 0, BELOW.answer.logits > 0)
    np.testing.assert_array_equal(near_above.answer.logits > 0, ABOVE.answer.logits > 0)
    expected = (5 * BELOW.answer.logits + ABOVE.answer.logits) / 6
    np.testing.assert_allclose(near_below.answer.logits, expected, rtol=1e-6)
    assert near_below.answer.logits.dtype == np.float32


def test_judgements_are_weighed_too():
    step = blend(BELOW, ABOVE, 2, 6)
    assert step is not None
    assert step.judgement.iou == pytest.approx(0.7)
    assert step.answer.iou == step.judgement.iou
    assert step.judgement.similarity == pytest.approx(0.5)
    assert 0 < step.judgement.agreement < 0.6


def test_two_that_agree_keep_their_agreement():
    twin = Step(4, BELOW.answer, Judgement(0.9, 0.8, 0.7))
    step = blend(BELOW, twin, 2, 6)
    assert step is not None
    assert step.judgement.agreement == pytest.approx(0.8, rel=1e-3)


def test_one_alone_stays_as_it_is():
    assert blend(BELOW, None, 2, 6) is BELOW
    assert blend(None, ABOVE, 2, 6) is ABOVE
    assert blend(None, None, 2, 6) is None

"""Several clicks in one request are answered as if they had come one by one."""

from __future__ import annotations

import numpy as np
import pytest

from lib.inference.chain import MAX_STEPS, predict_chain, stages
from lib.inference.predictor import Predictor
from lib.prompts import Prompt
from tests.support import golden

POINTS = ((20, 30), (60, 50), (70, 20))
LABELS = (1, 1, 0)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    made = Predictor(golden.tiny_model())
    made.set_image(golden.load("samed2d_tiny_io.npz")["image"])
    return made


def test_a_list_of_points_equals_click_by_click(predictor: Predictor) -> None:
    answer = predictor.predict(Prompt(points=POINTS[:1], labels=LABELS[:1]))
    for n in (2, 3):
        answer = predictor.predict(
            Prompt(points=POINTS[:n], labels=LABELS[:n], mask=answer.low_res)
        )
    chain = predict_chain(predictor, Prompt(points=POINTS, labels=LABELS))
    np.testing.assert_array_equal(chain.logits, answer.logits)
    at_once = predictor.predict(Prompt(points=POINTS, labels=LABELS))
    assert not np.array_equal(chain.logits, at_once.logits)


def test_the_box_comes_before_the_points() -> None:
    chain = stages(Prompt(points=POINTS, labels=LABELS, box=(1, 2, 30, 40)))
    assert [len(stage.points) for stage in chain] == [0, 1, 2, 3]
    assert all(stage.box == (1, 2, 30, 40) for stage in chain)


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(points=POINTS[:1], labels=LABELS[:1]),
        Prompt(box=(1, 2, 30, 40)),
        Prompt(points=POINTS, labels=LABELS, mask=np.zeros((64, 64))),
    ],
)
def test_one_part_or_a_mask_is_a_chain_of_itself(predictor: Predictor, prompt: Prompt) -> None:
    assert len(stages(prompt)) == 1
    chain, alone = predict_chain(predictor, prompt), predictor.predict(prompt)
    np.testing.assert_array_equal(chain.logits, alone.logits)


@pytest.mark.parametrize("box", [None, (1, 2, 30, 40)])
def test_long_lists_cost_a_bounded_number_of_steps(box: tuple[int, ...] | None) -> None:
    points = tuple((n, n) for n in range(1, 41))
    chain = stages(Prompt(points=points, labels=(1,) * 40, box=box))
    assert len(chain) == MAX_STEPS
    assert chain[-1].points == Prompt(points=points, labels=(1,) * 40).points

"""Dice by clicks during training."""

from __future__ import annotations

import numpy as np
import pytest

from lib.data.pool import LabelledImage
from lib.inference.predictor import Predictor
from lib.prompts import Prompt
from lib.prompts.simulate import interior_click
from lib.training.metrics import dice
from lib.training.validate import click_dice
from tests.support import golden


def make_case(masks: np.ndarray) -> LabelledImage:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (96, 80, 3), dtype=np.uint8)
    return LabelledImage("case", "case", image, masks, ("a",) * len(masks))


def test_the_first_click_is_scored_as_by_hand() -> None:
    mask = np.zeros((1, 96, 80), dtype=bool)
    mask[0, 20:60, 10:50] = True
    case = make_case(mask)
    scores = click_dice(golden.tiny_model(), [case], clicks=3)
    assert len(scores) == 3
    predictor = Predictor(golden.tiny_model())
    predictor.set_image(case.image)
    click = interior_click(mask[0])
    answer = predictor.predict(Prompt(points=((click.x, click.y),), labels=(1,)))
    assert scores[0] == pytest.approx(dice(answer.mask, mask[0]))


def test_objects_too_small_or_too_large_do_not_count() -> None:
    masks = np.zeros((2, 96, 80), dtype=bool)
    masks[0, 0, 0] = True
    masks[1] = True
    assert click_dice(golden.tiny_model(), [make_case(masks)]) == ()

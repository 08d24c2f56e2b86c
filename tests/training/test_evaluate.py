"""The simulated user of the evaluation, and what is counted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import OptionError, PromptError
from lib.inference.predictor import Prediction
from lib.inference.segmenter import SegmentResult, Timings
from lib.prompts import Prompt
from lib.prompts.simulate import Click
from lib.training.evaluate import (
    ENOUGH,
    Interaction,
    Plan,
    agreement,
    annotate,
    interact,
    network_side,
    prompt_of,
    size_class,
    size_names,
)
from lib.training.metrics import dice

TARGET = np.zeros((60, 80), dtype=bool)
TARGET[20:40, 10:50] = True
PLAN = Plan(box=True, clicks=(1, 2, 4))


@dataclass
class Painter:
    """Paints a square of 21 pixels around each foreground point, and clears one at each other."""

    prompts: list[Prompt] = field(default_factory=list)

    def __call__(self, prompt: Prompt) -> SegmentResult:
        self.prompts.append(prompt)
        mask = np.zeros(TARGET.shape, dtype=bool)
        if prompt.box is not None:
            x0, y0, x1, y1 = (int(v) for v in prompt.box)
            mask[y0:y1, x0:x1] = True
        for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
            rows = slice(max(int(y) - 10, 0), int(y) + 11)
            mask[rows, max(int(x) - 10, 0) : int(x) + 11] = bool(label)
        prediction = Prediction(mask, mask.astype(np.float32), 0.5, np.zeros((1, 64, 64)))
        return SegmentResult(prediction, Timings(0, 0, 0, 0), "torch fp32", cached=True)


def test_a_perfect_answer_to_the_box_and_clicks_that_help() -> None:
    ask = Painter()
    answers = annotate(ask, TARGET, PLAN)
    assert list(answers) == ["box", "1", "2", "4"]
    assert answers["box"].prompt.box == (10, 20, 50, 40)
    assert answers["box"].dice == answers["box"].iou == 1.0
    assert answers["1"].dice < answers["2"].dice
    assert [len(prompt.points) for prompt in ask.prompts] == [0, 1, 2, 3, 4]
    first = answers["1"].prompt.points[0]
    assert all(prompt.points[0] == first for prompt in ask.prompts[1:])
    assert not any(answer.zoomed for answer in answers.values())


def test_the_score_is_that_of_the_mask() -> None:
    for answer in annotate(Painter(), TARGET, PLAN).values():
        assert answer.dice == dice(answer.mask, TARGET)
        assert answer.iou == pytest.approx(answer.dice / (2 - answer.dice))
        assert answer.seconds >= 0


def test_nothing_is_clicked_when_nothing_is_wrong() -> None:
    target = np.zeros_like(TARGET)
    target[20:41, 20:41] = True
    ask = Painter()
    answers = annotate(ask, target, Plan(box=False, clicks=(3,)))
    assert list(answers) == ["3"]
    assert [len(prompt.points) for prompt in ask.prompts] == [1, 1, 1]


def test_an_empty_target_is_refused() -> None:
    with pytest.raises(PromptError):
        annotate(Painter(), np.zeros_like(TARGET), PLAN)


def test_clicks_are_sent_as_viewers_send_them() -> None:
    clicks = [Click(1, 2, 1), Click(3, 4, 0), Click(5, 6, 1), Click(7, 8, 0)]
    prompt = prompt_of(clicks)
    assert prompt.points == ((1, 2), (5, 6), (3, 4), (7, 8))
    assert prompt.labels == (1, 1, 0, 0)


def test_agreement_asks_the_same_prompts() -> None:
    answers = annotate(Painter(), TARGET, PLAN)
    other = Painter()
    assert agreement(other, answers) == dict.fromkeys(answers, 1.0)
    assert [p.points for p in other.prompts] == [a.prompt.points for a in answers.values()]

    def nothing(prompt: Prompt) -> SegmentResult:
        result = Painter()(prompt)
        result.prediction.mask[:] = False
        return result

    assert agreement(nothing, answers) == dict.fromkeys(answers, 0.0)


def test_plans() -> None:
    assert Plan.parse("box,1,3,5") == Plan(box=True, clicks=(1, 3, 5))
    assert Plan.parse(" 5, 1,5 ").names == ("1", "5")
    assert Plan.parse("box").names == ("box",)


@pytest.mark.parametrize("text", ["", " , ", "Box", "0", "-1", "1.5", "101", "box;1", "²"])
def test_plans_that_are_none(text: str) -> None:
    with pytest.raises(OptionError, match="box,1,3,5"):
        Plan.parse(text)


def test_sizes_are_those_in_the_networks_frame() -> None:
    assert network_side(TARGET) == 40 * 256 / 80
    assert network_side(TARGET[:, :50]) == 40 * 256 / 50
    tall = np.zeros((512, 1024), dtype=bool)
    tall[100:150, 3:5] = True
    assert network_side(tall) == 25


@given(st.floats(0, 256))
def test_every_size_has_one_class(side: float) -> None:
    assert size_class(side) in size_names()


def test_classes_begin_where_they_say() -> None:
    assert [size_class(side) for side in (0, 15.9, 16, 64, 127, 128, 256)] == [
        "under 16",
        "under 16",
        "16 to 32",
        "64 to 128",
        "64 to 128",
        "128 and more",
        "128 and more",
    ]


def test_the_user_clicks_on_until_it_is_good() -> None:
    ask = Painter()
    found = interact(ask, TARGET, Plan(box=False, clicks=(1,)), most=20)
    assert list(found.answers) == ["1"]
    assert found.by_click[0] == (found.answers["1"].dice, found.answers["1"].iou)
    ious = [iou for _, iou in found.by_click]
    assert ious[-1] >= ENOUGH or len(ious) == 20
    assert all(iou < ENOUGH for iou in ious[:-1])
    assert len(ask.prompts) == len(ious) > 1


def test_a_user_gives_up() -> None:
    found = interact(Stubborn(), TARGET, Plan(box=True, clicks=(2,)), most=6)
    assert list(found.answers) == ["box", "2"]
    assert [dice for dice, _ in found.by_click] == [0.0] * 6
    assert found.clicks_until(0.5, most=6) == 6


def test_planned_clicks_are_given_also_where_it_is_good_already() -> None:
    target = np.zeros_like(TARGET)
    target[20:41, 20:41] = True
    found = interact(Painter(), target, Plan(box=False, clicks=(1, 3)), most=20)
    assert found.by_click == ((1.0, 1.0),) * 3
    assert interact(Painter(), target, Plan(box=True, clicks=()), most=0).by_click == ()


def test_clicks_until() -> None:
    found = Interaction({}, ((0.5, 0.3), (0.9, 0.86), (0.8, 0.7), (0.95, 0.91)))
    assert found.clicks_until(0.85, most=20) == 2
    assert found.clicks_until(0.9, most=20) == 4
    assert found.clicks_until(0.95, most=20) == 20
    assert found.clicks_until(0.9, most=3) == 3


class Stubborn:
    """Answers with nothing."""

    def __call__(self, prompt: Prompt) -> SegmentResult:
        mask = np.zeros(TARGET.shape, dtype=bool)
        prediction = Prediction(mask, mask.astype(np.float32), 0.5, np.zeros((1, 64, 64)))
        return SegmentResult(prediction, Timings(0, 0, 0, 0), "torch fp32", cached=True)

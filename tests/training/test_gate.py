"""What is published, and what is said about it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.training.bootstrap import Interval
from lib.training.foreign import LabelFit
from lib.training.gate import Comparison, GateRule, Verdict, compare, decide
from lib.training.validation import PLAN, TargetScore

RULE = GateRule()


def scores(
    means: list[float], patients: int = 4, noise: float = 0.02, **shift: float
) -> tuple[TargetScore, ...]:
    """Objects with a mean Dice each; ``shift`` moves single prompts ("box" or "click1")."""
    rng = np.random.default_rng(len(means))
    rows = np.asarray(means)[:, None] + rng.normal(0, noise, (len(means), 4))
    rows += [shift.get(name, 0.0) for name in ("box", "click1", "click3", "click5")]
    return tuple(
        TargetScore(
            image=f"case {n}",
            patient=f"p{n % patients}",
            label="liver",
            dice=dict(zip(PLAN.names, map(float, row), strict=True)),
            clicks_to_90=3,
        )
        for n, row in enumerate(rows)
    )


BEFORE = scores([0.6] * 20)
ANCHORS = scores([0.8] * 30, patients=30)
SAME = compare(ANCHORS, ANCHORS)


def moved(
    given: tuple[TargetScore, ...], by: float, noise: float = 0.01
) -> tuple[TargetScore, ...]:
    rng = np.random.default_rng(9)
    return tuple(
        replace(score, dice={name: v + by + rng.normal(0, noise) for name, v in score.dice.items()})
        for score in given
    )


def verdict(after: tuple[TargetScore, ...], anchors: Comparison = SAME) -> Verdict:
    return decide(compare(BEFORE, after), anchors, RULE)


def test_better_is_published_with_its_uncertainty() -> None:
    found = verdict(moved(BEFORE, 0.05))
    assert found.publish
    comparison = compare(BEFORE, moved(BEFORE, 0.05))
    assert 0 < comparison.overall.low < comparison.overall.mean < comparison.overall.high
    assert found.reason == (
        f"better: mean Dice {comparison.overall} on 20 objects of 4 patients held out; "
        "+0.000 on phantoms"
    )
    assert "95 % interval" in found.reason


def test_worse_is_refused() -> None:
    found = verdict(moved(BEFORE, -0.05))
    assert not found.publish
    assert found.reason.startswith("refused: worse on the held-out objects; clearly worse with ")
    assert "20 objects of 4 patients" in found.reason


def test_a_small_loss_is_refused_too() -> None:
    before = scores([0.6] * 20)
    after = moved(before, -0.004, noise=0.05)
    comparison = compare(before, after)
    assert comparison.overall.mean < 0 < comparison.overall.high
    assert not decide(comparison, SAME, RULE).publish


def test_a_gain_that_is_not_certain_is_published_and_called_so() -> None:
    rng = np.random.default_rng(0)
    gains = [0.1, -0.09, 0.1, -0.09] * 5
    after = tuple(
        replace(score, dice={n: v + gain + rng.normal(0, 1e-3) for n, v in score.dice.items()})
        for score, gain in zip(BEFORE, gains, strict=True)
    )
    comparison = compare(BEFORE, after)
    assert comparison.overall.low < 0 < comparison.overall.mean
    found = decide(comparison, SAME, RULE)
    assert found.publish
    assert found.reason.startswith("not worse, though the gain is not certain: mean Dice +0.00")


def test_one_prompt_that_gets_clearly_worse_is_enough() -> None:
    after = moved(scores([0.6] * 20, box=0.3, click1=-0.1), 0.0)
    comparison = compare(BEFORE, after)
    assert comparison.overall.mean > 0
    found = decide(comparison, SAME, RULE)
    assert not found.publish
    assert "clearly worse with 1 click, Dice -0.1" in found.reason


def test_forgetting_is_refused_whatever_was_gained() -> None:
    anchors = compare(ANCHORS, moved(ANCHORS, -0.2))
    found = verdict(moved(BEFORE, 0.3), anchors)
    assert not found.publish
    assert "too much forgotten, -0.20" in found.reason


GAINED = compare(BEFORE, moved(BEFORE, 0.1))


def fit(mean: float, spread: float = 0.02, count: int = 20) -> LabelFit:
    return LabelFit(Interval(mean, mean - spread, mean + spread), count)


def test_wrong_labels_that_praise_themselves_are_refused() -> None:
    found = decide(GAINED, SAME, RULE, fits=[fit(-0.01), fit(0.012)])
    assert not found.publish
    words = f"do not seem to belong to their images, which are worth Dice {fit(0.012).gain}"
    assert words in found.reason
    assert found.facts["own_image_gain"] == 0.012


@pytest.mark.parametrize(
    ("fits", "publish"),
    [
        ([fit(0.1)], True),
        ([fit(0.0), fit(0.05)], True),
        ([fit(0.05), fit(0.0)], True),
        ([None], True),
        ([], True),
        ([fit(0.05, spread=0.06)], False),
        ([fit(0.05, spread=0.06, count=3)], True),
        ([fit(0.02, spread=0.01, count=3)], False),
    ],
)
def test_labels_must_fit_once(fits: list[LabelFit | None], publish: bool) -> None:
    found = decide(GAINED, SAME, RULE, fits=fits)
    assert found.publish is publish
    known = [each.gain.mean for each in fits if each is not None]
    assert found.facts["own_image_gain"] == (max(known) if known else None)


@pytest.mark.parametrize(("loss", "publish"), [(0.5, True), (1.5, False)])
def test_the_tolerance_of_phantoms(loss: float, publish: bool) -> None:
    anchors = compare(ANCHORS, moved(ANCHORS, -loss * RULE.anchor_tolerance, noise=0.0))
    assert verdict(moved(BEFORE, 0.05), anchors).publish is publish


def test_nothing_gained_is_not_published() -> None:
    found = verdict(BEFORE)
    assert not found.publish
    assert found.reason.startswith("refused: nothing has changed")


def test_without_anything_to_judge_by_nothing_is_published() -> None:
    empty = compare((), ())
    found = decide(empty, SAME, RULE)
    assert (found.publish, found.reason) == (
        False,
        "refused: there is no held-out object to judge by",
    )
    found = decide(compare(BEFORE, moved(BEFORE, 0.1)), empty, RULE)
    assert not found.publish
    assert "there is no phantom" in found.reason


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_figures_that_are_no_numbers_are_refused(bad: float) -> None:
    after = moved(BEFORE, 0.1)
    broken = (replace(after[0], dice={**after[0].dice, "3": bad}), *after[1:])
    found = verdict(broken)
    assert not found.publish
    assert found.reason == "refused: the Dice of a held-out object is no number"
    worse = compare(ANCHORS, (replace(ANCHORS[0], dice=broken[0].dice), *ANCHORS[1:]))
    assert not decide(compare(BEFORE, after), worse, RULE).publish
    json.dumps(dict(found.facts), allow_nan=False)


@pytest.mark.parametrize(
    ("level", "words"),
    [
        ("patient", "20 objects of 4 patients held out"),
        ("slice", "20 objects on held-out slices of the only patient"),
        ("none", "20 objects that were learned from as well: nothing was held out"),
    ],
)
def test_what_was_held_out_is_said(level: str, words: str) -> None:
    comparison = compare(BEFORE, moved(BEFORE, 0.05))
    assert words in decide(comparison, SAME, RULE, level).reason


def test_one_object_of_one_patient_reads_well() -> None:
    one = BEFORE[:1]
    found = decide(compare(one, moved(one, 0.05)), SAME, RULE)
    assert "on 1 object of 1 patient held out" in found.reason


def test_facts_can_be_written_down() -> None:
    found = verdict(moved(BEFORE, 0.05))
    assert json.loads(json.dumps(dict(found.facts), allow_nan=False)) == dict(found.facts)
    assert found.facts["publish"] is True
    assert found.facts["reason"] == found.reason
    assert (found.facts["n_targets"], found.facts["n_patients"]) == (20, 4)
    assert found.facts["dice_mean"] == pytest.approx(0.05, abs=0.01)
    assert {f"dice_{name}_low" for name in PLAN.names} <= set(found.facts)


def test_scores_of_different_objects_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different objects"):
        compare(BEFORE, BEFORE[1:])
    with pytest.raises(ValueError, match="different objects"):
        compare(BEFORE, BEFORE[::-1])
    with pytest.raises(ValueError, match="different objects"):
        compare(BEFORE, (replace(BEFORE[0], dice={"box": 1.0}), *BEFORE[1:]))


DICES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12)


def of(values: list[float], patients: int) -> tuple[TargetScore, ...]:
    return tuple(
        TargetScore(f"case {n}", f"p{n % patients}", "a", dict.fromkeys(PLAN.names, value), 3)
        for n, value in enumerate(values)
    )


@given(DICES, st.integers(1, 4))
def test_nothing_that_is_worse_on_average_is_ever_published(
    pairs: list[tuple[float, float]], patients: int
) -> None:
    before, after = (of(list(side), patients) for side in zip(*pairs, strict=True))
    found = decide(compare(before, after), SAME, RULE)
    gain = float(np.mean([b - a for a, b in pairs]))
    if found.publish:
        assert gain >= 0
        assert found.facts["dice_mean"] == pytest.approx(gain, abs=1e-6)
    elif gain > 1e-9:
        assert "clearly worse" in found.reason
    assert (found.facts["publish"], found.facts["reason"]) == (found.publish, found.reason)


@given(DICES, st.integers(1, 4))
def test_not_both_directions_are_published(pairs: list[tuple[float, float]], patients: int) -> None:
    before, after = (of(list(side), patients) for side in zip(*pairs, strict=True))
    there = decide(compare(before, after), SAME, RULE)
    back = decide(compare(after, before), SAME, RULE)
    gain = abs(float(np.mean([b - a for a, b in pairs])))
    assert not (there.publish and back.publish) or gain < 1e-9


@given(DICES)
def test_no_gain_on_labels_outweighs_a_loss_on_phantoms(pairs: list[tuple[float, float]]) -> None:
    before, after = (of(list(side), 2) for side in zip(*pairs, strict=True))
    anchors = compare(ANCHORS, moved(ANCHORS, -0.1))
    assert not decide(compare(before, after), anchors, RULE).publish

"""The metrics: SAM-Med2D's against its golden numbers, the clean ones against set algebra."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as hnp

from lib.training import metrics

GOLDEN = Path(__file__).parents[1] / "golden" / "samed2d_losses.npz"
CASES = ("b1", "b6", "empty", "b3_one_empty", "full", "extreme", "all_positive_logits")
TOLERANCE = 1e-6

# No deadline: a busy machine must not fail a test.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

Metric = Callable[[np.ndarray, np.ndarray], object]


def relative_error(got: np.ndarray, reference: np.ndarray) -> float:
    """Largest absolute difference over the larger of 1 and the largest absolute reference."""
    return float(np.abs(got - reference).max() / max(1.0, np.abs(reference).max()))


@pytest.mark.parametrize("case", CASES)
def test_published_metrics_match_golden(case: str) -> None:
    with np.load(GOLDEN) as file:
        golden = {
            k.removeprefix(f"{case}."): file[k] for k in file.files if k.startswith(f"{case}.")
        }
    pair = golden["pred"], golden["mask"]
    assert relative_error(metrics.published_iou(*pair), golden["metric_iou"]) <= TOLERANCE
    assert relative_error(metrics.published_dice(*pair), golden["metric_dice"]) <= TOLERANCE
    assert relative_error(np.array(metrics.published_metrics(*pair)), golden["SegMetrics"]) <= (
        TOLERANCE
    )


def test_published_rule_takes_all_positive_logits_for_probabilities() -> None:
    positive = np.array([[[0.2, 0.5, 0.6, 3.0]]])
    assert metrics.published_binary(positive).tolist() == [[[False, False, True, True]]]
    one_negative = np.array([[[0.2, 0.5, 0.6, -3.0]]])
    assert metrics.published_binary(one_negative).tolist() == [[[True, True, True, False]]]


def test_one_negative_row_changes_the_published_rule_for_the_whole_batch() -> None:
    rows = np.stack([np.full((1, 4, 4), 0.2), np.full((1, 4, 4), -0.2)])
    target = np.ones((2, 1, 4, 4))
    assert metrics.published_iou(rows, target)[0] == pytest.approx(1.0)
    assert metrics.published_iou(rows[:1], target[:1])[0] == pytest.approx(0.0, abs=1e-6)


def test_published_metrics_call_two_empty_masks_equal() -> None:
    nothing = np.zeros((1, 1, 4, 4))
    assert metrics.published_metrics(nothing, nothing) == (1.0, 1.0)


@relaxed
@given(pair=hnp.arrays(np.bool_, (2, 6, 7)))
def test_dice_and_iou_follow_set_algebra(pair: np.ndarray) -> None:
    first, second = ({tuple(p) for p in np.argwhere(mask)} for mask in pair)
    dice, iou = metrics.dice(*pair), metrics.iou(*pair)
    if first | second:
        assert iou == len(first & second) / len(first | second)
        assert dice == pytest.approx(2 * iou / (1 + iou))
    else:
        assert dice == iou == 1.0
    assert metrics.dice(pair[1], pair[0]) == dice


@pytest.mark.parametrize("metric", [metrics.dice, metrics.iou])
def test_agreement_is_one_and_one_empty_mask_is_zero(metric: Metric) -> None:
    mask, empty = np.eye(5, dtype=np.uint8) * 255, np.zeros((5, 5))
    assert metric(mask, mask > 0) == 1.0
    assert metric(empty, empty) == 1.0
    assert metric(mask, empty) == metric(empty, mask) == 0.0


def test_volumes_are_counted_whole() -> None:
    mask, target = np.zeros((2, 2, 2)), np.ones((2, 2, 2))
    mask[0] = 1
    assert metrics.dice(mask, target) == pytest.approx(2 / 3)
    assert metrics.iou(mask, target) == 0.5


@pytest.mark.parametrize(
    "metric", [metrics.dice, metrics.iou, metrics.published_dice, metrics.published_iou]
)
def test_masks_of_different_shapes_are_refused(metric: Metric) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        metric(np.ones((1, 1, 4, 4)), np.ones((1, 1, 4, 5)))

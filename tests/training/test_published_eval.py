"""The published test path against the original's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from lib.errors import PromptError
from lib.networks import AdapterSam
from lib.training.published_eval import evaluate_published
from tests.support import golden

GOLDEN = golden.load("samed2d_eval.npz")


@pytest.fixture(scope="module")
def model() -> AdapterSam:
    return golden.tiny_model()


@pytest.mark.parametrize("case", ["pad", "resize", "mixed", "exact"])
def test_every_number_equals_the_original(model: AdapterSam, case: str) -> None:
    expected = golden.below(GOLDEN, f"{case}.")
    result = evaluate_published(model, expected["image_bgr_as_read"], expected["mask"])
    np.testing.assert_array_equal(result.net_mask, expected["net_mask"])
    np.testing.assert_array_equal(result.box, expected["box"])
    if "net_input" in expected:
        assert golden.relative_error(result.net_input, expected["net_input"]) <= 1e-4
    assert golden.relative_error(result.low_res, expected["low_res"]) <= 1e-4
    assert golden.relative_error(result.predicted_iou, expected["iou"]) <= 1e-4
    assert golden.relative_error(result.logits, expected["post_logits"]) <= 1e-4
    assert [result.iou, result.dice] == pytest.approx(list(expected["metric_iou_dice"]), abs=1e-4)
    assert golden.relative_error(result.loss, expected["loss"]) <= 1e-4


def test_the_padding_lies_where_the_original_puts_it() -> None:
    from lib.imaging.geometry import PadFrame

    frame = PadFrame(*GOLDEN["pad.mask"].shape)
    assert [frame.top, frame.left] == list(GOLDEN["pad.pad_top_left"])


def test_resized_images_equal_the_original_before_normalisation() -> None:
    from lib.imaging.geometry import resize_image

    for case in ("resize", "exact"):
        resized = resize_image(GOLDEN[f"{case}.image_bgr_as_read"], 256, mode="nearest")
        np.testing.assert_array_equal(resized, GOLDEN[f"{case}.net_image_u8"])


def test_an_empty_mask_is_refused(model: AdapterSam) -> None:
    with pytest.raises(PromptError):
        evaluate_published(model, GOLDEN["pad.image_bgr_as_read"], GOLDEN["pad.mask"] * 0)

"""The published test path against the original's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from lib.errors import PromptError
from lib.imaging.geometry import PadFrame
from lib.networks import AdapterSam
from lib.prompts.simulate import LegacyRandom
from lib.training.evaluate import Plan
from lib.training.published_eval import (
    Decode,
    NetAnswer,
    NetPrompt,
    PublishedImage,
    annotate_published,
    decode_without_network,
    evaluate_published,
)
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


PLAN = Plan(box=True, clicks=(1, 3, 5))


def noted(decode: Decode, prompts: list[NetPrompt]) -> Decode:
    """Decode, and keep what was asked."""

    def ask(prompt: NetPrompt) -> NetAnswer:
        prompts.append(prompt)
        return decode(prompt)

    return ask


@pytest.fixture(params=["pad", "resize"])
def opened(model: AdapterSam, request: pytest.FixtureRequest) -> tuple[PublishedImage, np.ndarray]:
    case = golden.below(GOLDEN, f"{request.param}.")
    return PublishedImage(model, case["image_bgr_as_read"]), case["mask"] > 0


def test_the_box_gives_what_the_original_gives(
    model: AdapterSam, opened: tuple[PublishedImage, np.ndarray]
) -> None:
    image, target = opened
    plan = Plan(box=True, clicks=())
    answers = annotate_published(image.decode, image.frame, target, plan, LegacyRandom(0))
    name = "pad" if image.frame.pads else "resize"
    expected = golden.below(GOLDEN, f"{name}.")["metric_iou_dice"]
    assert [answers["box"].iou, answers["box"].dice] == pytest.approx(list(expected), abs=1e-4)
    assert answers["box"].dice == round(answers["box"].dice, 4)


def test_one_by_one_points_accumulate_with_the_mask_before(
    opened: tuple[PublishedImage, np.ndarray],
) -> None:
    image, target = opened
    prompts: list[NetPrompt] = []
    decode = noted(image.decode, prompts)
    plan = Plan(box=False, clicks=(3,))
    answers = annotate_published(decode, image.frame, target, plan, LegacyRandom(0))
    assert list(answers) == ["3"]
    assert [len(prompt.points) for prompt in prompts] == [1, 2, 3]
    assert [prompt.low_res is None for prompt in prompts] == [True, False, False]
    np.testing.assert_array_equal(prompts[2].points[:2], prompts[1].points)
    net_mask = image.net_mask(target)
    x, y = prompts[0].points[0].astype(int)
    assert net_mask[y, x] == prompts[0].labels[0] == 1


def test_points_at_once(opened: tuple[PublishedImage, np.ndarray]) -> None:
    image, target = opened
    prompts: list[NetPrompt] = []
    decode = noted(image.decode, prompts)
    annotate_published(decode, image.frame, target, PLAN, LegacyRandom(0), at_once=True)
    assert prompts[0].box is not None and prompts[0].points is None
    labels = [sorted(prompt.labels.tolist()) for prompt in prompts[1:]]
    assert labels == [[1], [0, 0, 1], [0, 0, 0, 1, 1]]
    assert all(prompt.low_res is None for prompt in prompts)


def test_prompts_are_told_in_pixels_of_the_image(
    opened: tuple[PublishedImage, np.ndarray],
) -> None:
    image, target = opened
    answers = annotate_published(image.decode, image.frame, target, PLAN, LegacyRandom(0))
    ((x, y),) = answers["1"].prompt.points
    near = target[max(round(y) - 1, 0) : round(y) + 2, max(round(x) - 1, 0) : round(x) + 2]
    assert near.any()
    rows, columns = np.nonzero(target)
    x0, y0, x1, y1 = answers["box"].prompt.box
    assert x0 >= columns.min() - 1 and y0 >= rows.min() - 1
    assert x1 <= columns.max() + 2 and y1 <= rows.max() + 2


def test_equal_seeds_give_equal_answers(opened: tuple[PublishedImage, np.ndarray]) -> None:
    image, target = opened
    one, two, other = (
        annotate_published(image.decode, image.frame, target, PLAN, LegacyRandom(seed))
        for seed in (3, 3, 4)
    )
    assert one["3"].prompt.points == two["3"].prompt.points != other["3"].prompt.points
    np.testing.assert_array_equal(one["5"].mask, two["5"].mask)


@pytest.mark.parametrize("shape", [(60, 80), (300, 200)])
def test_the_same_prompts_without_a_network(shape: tuple[int, int]) -> None:
    grey = np.full(shape, 60, np.uint8)
    target = np.zeros(shape, bool)
    target[20:40, 30:60] = True
    grey[target] = 200
    frame = PadFrame(*shape)
    answers = annotate_published(
        decode_without_network(grey, frame), frame, target, PLAN, LegacyRandom(0)
    )
    assert answers["box"].mask.shape == shape
    assert 0.75 < answers["box"].dice < 0.95, "an ellipse in a rectangle"
    assert answers["1"].dice > 0.8

"""The predictor against the original's numbers, and its own promises."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lib.errors import ImageError, PromptError
from lib.imaging.geometry import Frame, resize_image
from lib.imaging.intensity import normalise_slice
from lib.inference import Prediction, Predictor
from lib.inference.decoder import mask_prompt, prompt_tensors
from lib.prompts import Prompt
from tests.support import golden

IO = golden.load("samed2d_tiny_io.npz")
SMALL = golden.load("samed2d_tiny_smallimg.npz")
CASES = ("pt1", "pt3", "box", "boxpts", "mask", "pt1_mask")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    made = Predictor(golden.tiny_model())
    made.set_image(IO["image"])
    return made


def golden_prompt(arrays: dict[str, np.ndarray], case: str, mode: str = "mm") -> Prompt:
    """The prompt of a golden case, in pixels of its image."""
    points = arrays.get(f"{case}.point_coords")
    labels = arrays.get(f"{case}.point_labels")
    box = arrays.get(f"{case}.box")
    mask = arrays.get(f"{case}.{mode}.mask_input")
    return Prompt(
        points=() if points is None else points.reshape(-1, 2),
        labels=() if labels is None else tuple(int(v) for v in labels.ravel()),
        box=None if box is None else tuple(box.ravel()),
        mask=None if mask is None else mask[0],
    )


@pytest.mark.parametrize("mode", ["mm", "single"])
@pytest.mark.parametrize("case", CASES)
def test_answers_equal_the_original(predictor: Predictor, case: str, mode: str) -> None:
    answer = predictor.predict(golden_prompt(IO, case, mode), multimask=mode == "mm")
    assert golden.relative_error(answer.low_res, IO[f"{case}.{mode}.low_res"]) <= 1e-4
    assert answer.iou == pytest.approx(float(IO[f"{case}.{mode}.iou"][0]), abs=1e-4)
    if mode == "mm":
        reference = IO[f"{case}.mm.masks_logits"][0]
        assert golden.relative_error(answer.logits, reference) <= 1e-4
    differs = answer.mask != (IO[f"{case}.{mode}.masks"][0] > 0)
    assert not (differs & (np.abs(answer.logits) >= 1e-4)).any()


@pytest.mark.parametrize("case", CASES)
def test_prompts_in_network_coordinates_equal_the_original(case: str) -> None:
    prompts = prompt_tensors([golden_prompt(IO, case)], Frame(197, 301))
    for name, tensor in (("coords_256", prompts.points), ("box_256", prompts.boxes)):
        key = f"{case}.{name}"
        assert (key in IO) == (tensor is not None)
        if tensor is not None:
            reference = IO[key].reshape(tensor.shape)
            assert golden.relative_error(tensor, reference) <= 1e-5


@pytest.mark.parametrize("case", CASES)
def test_prompt_embeddings_equal_the_original(predictor: Predictor, case: str) -> None:
    prompts = prompt_tensors([golden_prompt(IO, case)], Frame(197, 301))
    points = None if prompts.points is None else (prompts.points, prompts.labels)
    sparse, dense = predictor.model.prompt_encoder(points, prompts.boxes, prompts.masks)
    assert golden.relative_error(sparse.detach(), IO[f"{case}.sparse"]) <= 1e-4
    reference = IO[f"{case}.dense_mean"]  # averaged over space where no mask prompt was given
    dense = dense.detach() if reference.ndim == 4 else dense.detach().mean(dim=(2, 3))
    assert golden.relative_error(dense, reference) <= 1e-4


@pytest.mark.parametrize("mode", ["mm", "single"])
@pytest.mark.parametrize("case", CASES)
def test_all_candidates_equal_the_original(predictor: Predictor, case: str, mode: str) -> None:
    prompts = prompt_tensors([golden_prompt(IO, case, mode)], Frame(197, 301))
    features = torch.from_numpy(IO["features"])
    with torch.inference_mode():
        logits, iou = predictor.model.decode(features, prompts, multimask=mode == "mm")
    assert golden.relative_error(logits, IO[f"{case}.{mode}.raw_low_res"]) <= 1e-4
    assert golden.relative_error(iou, IO[f"{case}.{mode}.raw_iou"]) <= 1e-4


def test_network_input_equals_the_original() -> None:
    pixels = resize_image(normalise_slice(IO["image"]), 256, mode="nearest")
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    normalised = golden.tiny_model().normalise(images)
    assert golden.relative_error(normalised, IO["net_input"]) <= 1e-5


@pytest.mark.parametrize("arrays", [IO, SMALL], ids=["io", "smallimg"])
def test_embedding_equals_the_original(arrays: dict[str, np.ndarray]) -> None:
    embedding = Predictor(golden.tiny_model()).encode(normalise_slice(arrays["image"]))
    assert golden.relative_error(embedding.tensor, arrays["features"]) <= 1e-4


def test_several_boxes_are_rows_of_one_batch(predictor: Predictor) -> None:
    boxes = IO["boxes3.boxes"]
    answers = predictor.predict_batch([Prompt(box=tuple(box)) for box in boxes])
    logits = np.stack([answer.logits for answer in answers])[:, None]
    assert golden.relative_error(logits, IO["boxes3.mm.masks_logits"]) <= 1e-4
    last_low_res = IO["boxes3.mm.low_res_last_only"][0]
    assert golden.relative_error(answers[-1].low_res, last_low_res) <= 1e-4


def test_a_small_image_is_stretched_as_by_the_original() -> None:
    predictor = Predictor(golden.tiny_model())
    predictor.set_image(SMALL["image"])
    points = SMALL["point_coords"].reshape(-1, 2)
    answer = predictor.predict(Prompt(points=points, labels=(1,) * len(points)))
    assert golden.relative_error(answer.low_res, SMALL["low_res"]) <= 1e-4
    assert answer.iou == pytest.approx(float(SMALL["iou"].ravel()[0]), abs=1e-4)
    reference = SMALL["masks_logits"].reshape(answer.logits.shape)
    assert golden.relative_error(answer.logits, reference) <= 1e-4


def assert_same(left: Prediction, right: Prediction) -> None:
    np.testing.assert_allclose(left.low_res, right.low_res, rtol=1e-4, atol=1e-4)
    assert left.iou == pytest.approx(right.iou, abs=1e-5)


def test_mixed_prompts_get_the_answers_they_would_get_alone(predictor: Predictor) -> None:
    prompts = [
        Prompt(points=((20, 30),), labels=(1,)),
        Prompt(box=(10, 20, 150, 100)),
        Prompt(points=((200, 100), (50, 60)), labels=(1, 0)),
        Prompt(points=((100, 90),), labels=(0,)),
        Prompt(points=((100, 90),), labels=(1,), box=(80, 60, 140, 130)),
        Prompt(mask=np.full((64, 64), 0.5, dtype=np.float32)),
        Prompt(points=((100, 90),), labels=(1,), mask=np.eye(197, 301) > 0),
    ]
    together = predictor.predict_batch(prompts)
    for prompt, answer in zip(prompts, together, strict=True):
        assert_same(answer, predictor.predict(prompt))


def test_answer_has_the_image_s_grid(predictor: Predictor) -> None:
    answer = predictor.predict(Prompt(points=((20, 30),), labels=(1,)))
    assert answer.mask.shape == answer.logits.shape == (197, 301)
    assert answer.mask.dtype == bool
    assert answer.low_res.shape == (1, 64, 64)
    assert answer.logits.dtype == answer.low_res.dtype == np.float32
    np.testing.assert_array_equal(answer.mask, answer.logits > 0)


def test_the_same_prompt_twice_is_bit_equal(predictor: Predictor) -> None:
    prompt = Prompt(points=((20, 30),), labels=(1,))
    first, second = predictor.predict(prompt), predictor.predict(prompt)
    np.testing.assert_array_equal(first.logits, second.logits)


def test_grey_and_native_intensities_are_accepted() -> None:
    predictor = Predictor(golden.tiny_model())
    rng = np.random.default_rng(0)
    for image in (rng.normal(40, 300, (50, 60)), rng.integers(0, 4000, (50, 60), dtype=np.int16)):
        predictor.set_image(image)
        assert predictor.predict(Prompt(points=((5, 5),), labels=(1,))).mask.shape == (50, 60)


def test_no_gradient_is_kept(predictor: Predictor) -> None:
    predictor.predict(Prompt(points=((20, 30),), labels=(1,)))
    assert all(p.grad is None for p in predictor.model.parameters())


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(points=((301, 10),), labels=(1,)),
        Prompt(points=((10, 197),), labels=(1,)),
        Prompt(points=((-1, 10),), labels=(1,)),
        Prompt(box=(400, 10, 500, 20)),
        Prompt(mask=np.zeros((32, 32))),
    ],
)
def test_a_prompt_off_the_image_is_refused(predictor: Predictor, prompt: Prompt) -> None:
    with pytest.raises(PromptError, match="Allowed"):
        predictor.predict(prompt)


def test_a_prompt_before_any_image_is_refused() -> None:
    with pytest.raises(PromptError, match="set_image"):
        Predictor(golden.tiny_model()).predict(Prompt(points=((1, 1),), labels=(1,)))


@pytest.mark.parametrize("shape", [(3,), (4, 5, 2), (0, 5), (2, 3, 4, 3)])
def test_an_array_that_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError):
        Predictor(golden.tiny_model()).set_image(np.zeros(shape))


def test_logits_as_mask_prompt_go_through_the_sigmoid() -> None:
    logits = np.linspace(-5, 5, 64 * 64, dtype=np.float32).reshape(64, 64)
    expected = torch.sigmoid(torch.from_numpy(logits)).numpy()[None]
    np.testing.assert_allclose(mask_prompt(logits), expected, atol=1e-6)
    np.testing.assert_array_equal(mask_prompt(expected), expected)


def test_a_mask_of_the_image_becomes_a_low_resolution_prompt() -> None:
    mask = np.zeros((128, 256), dtype=bool)
    mask[:64, :128] = True
    prompt = mask_prompt(mask)
    assert prompt.shape == (1, 64, 64)
    assert prompt[0, :32, :32].min() == 1
    assert prompt[0, 32:].max() == prompt[0, :, 32:].max() == 0


def test_all_masks_compete_where_the_architecture_says_so() -> None:
    model = golden.tiny_model()
    model.config = dataclasses.replace(golden.TINY, rate_all_masks=True)
    # The network is sure of its single answer, so that this one must win.
    with torch.no_grad():
        model.mask_decoder.iou_prediction_head.layers[-1].bias[0] += 10
    predictor = Predictor(model)
    predictor.set_image(IO["image"])
    prompt = Prompt(points=((20, 30),), labels=(1,))
    rated, single = predictor.predict(prompt), predictor.predict(prompt, multimask=False)
    np.testing.assert_array_equal(rated.logits, single.logits)
    model.config = golden.TINY
    assert not np.array_equal(predictor.predict(prompt).logits, single.logits)

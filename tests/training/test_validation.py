"""Judging a network: as the server would answer, and without a trace in the network."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.data.pool import LabelledImage
from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import ChainDecoder
from lib.inference.decoder import PromptDecoder
from lib.inference.embedder import SliceEmbedder
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.predictor import Prediction
from lib.inference.segmenter import SegmentResult, SliceSegmenter, Timings
from lib.inference.view import SliceView
from lib.inference.worker import PriorityWorker
from lib.networks.backends import TorchEncoder
from lib.networks.sam import AdapterSam
from lib.prompts.prompt import Prompt
from lib.training.evaluate import Ask, Plan, annotate
from lib.training.validation import (
    NOT_WITHIN,
    PLAN,
    Summary,
    TargetScore,
    ValidationSet,
    chosen_targets,
    evaluating,
    validate,
)
from tests.support.golden import tiny_model


def disc(x: int, y: int, radius: int, height: int = 90, width: int = 120) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.hypot(columns - x, rows - y) <= radius


def labelled(name: str = "ct#k0003", patient: str = "ann") -> LabelledImage:
    """A grey image in Hounsfield units with two discs."""
    masks = np.stack([disc(30, 40, 14), disc(80, 50, 20)])
    image = np.where(masks.any(axis=0), 120, -40).astype(np.int16)
    image = image + np.random.default_rng(0).integers(-30, 30, image.shape, dtype=np.int16)
    return LabelledImage(name, patient, image, masks, ("liver", "spleen"), "CT", "ABDOMEN")


@pytest.fixture
def model() -> AdapterSam:
    return tiny_model()


def served(model: AdapterSam) -> SliceSegmenter:
    """The network as the server has it."""
    decoder = PromptDecoder(model, torch.device("cpu"))
    return SliceSegmenter(
        SliceEmbedder(model, TorchEncoder(model), EmbeddingStore(1 << 24), "tiny"),
        decoder,
        ChainDecoder(decoder, ByteBoundedCache(1 << 24)),
        PriorityWorker(),
    )


def test_scores_are_those_of_the_servers_masks(model: AdapterSam) -> None:
    image = labelled()
    segmenter = served(model)
    view = SliceView(image.image, model.config.intensity, image.modality, image.body_part)

    def ask(prompt: Prompt) -> SegmentResult:
        return segmenter.segment(view, prompt, zoom="off")

    scores = ValidationSet(model, [image]).scores()
    assert [score.key for score in scores] == [(image.name, 0), (image.name, 1)]
    for score, target in zip(scores, image.masks, strict=True):
        answers = annotate(ask, target, Plan(box=True, clicks=(1, 2, 3, 4, 5)))
        assert score.dice == {name: answers[name].dice for name in PLAN.names}
        assert score.by_clicks == tuple(answers[str(n)].dice for n in range(1, 6))
        assert score.mask is not None
        assert np.array_equal(score.mask.unpack(), answers["1"].mask)
    assert [score.label for score in scores] == ["liver", "spleen"]


def test_modality_and_body_part_decide_how_an_image_is_shown(
    model: AdapterSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    own = SliceView.image8

    def note(view: SliceView) -> np.ndarray:
        shown.append((view.intensity, view.modality, view.body_part, view.crop))
        return own(view)

    monkeypatch.setattr(SliceView, "image8", note)
    ValidationSet(model, [labelled()]).scores()
    assert shown == [(model.config.intensity, "CT", "ABDOMEN", None)]


def test_the_network_is_left_as_it_was(model: AdapterSam) -> None:
    model.train()
    model.image_encoder.eval()
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    assert torch.is_grad_enabled()
    ValidationSet(model, [labelled()], keep=True).scores()
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_it_can_learn_on_afterwards(model: AdapterSam) -> None:
    model.train()
    ValidationSet(model, [labelled()]).scores()
    model.encode(torch.zeros(1, 3, 256, 256)).sum().backward()
    assert any(parameter.grad is not None for parameter in model.parameters())


def test_modes_are_restored_after_an_error(model: AdapterSam) -> None:
    model.train()
    with pytest.raises(KeyError), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert all(module.training for module in model.modules())


def test_no_answer_outlives_a_change_of_the_decoder(model: AdapterSam) -> None:
    judged = ValidationSet(model, [labelled()], keep=True)
    first = judged.scores()
    assert judged.scores() == first
    with torch.no_grad():
        for parameter in model.mask_decoder.parameters():
            parameter.mul_(-1.5)
    second = judged.scores()
    assert second != first
    assert second == ValidationSet(model, [labelled()]).scores()


def test_a_changed_encoder_is_seen_unless_embeddings_are_kept(model: AdapterSam) -> None:
    fresh = ValidationSet(model, [labelled()])
    kept = ValidationSet(model, [labelled()], keep=True)
    before = fresh.scores()
    assert kept.scores() == before
    with torch.no_grad():
        for parameter in model.image_encoder.parameters():
            parameter.mul_(0.3)
    assert fresh.scores() != before
    assert kept.scores() == before


def test_images_are_encoded_once_for_all_targets(
    model: AdapterSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0
    own = TorchEncoder.encode

    def encode(self: TorchEncoder, images: torch.Tensor) -> torch.Tensor:
        nonlocal count
        count += len(images)
        return own(self, images)

    monkeypatch.setattr(TorchEncoder, "encode", encode)
    images = [labelled("a"), labelled("b")]
    kept = ValidationSet(model, images, keep=True)
    kept.scores()
    assert count == 2
    kept.scores()
    assert count == 2
    ValidationSet(model, images).scores()
    assert count == 4


def test_weights_that_are_no_numbers_score_nothing(model: AdapterSam) -> None:
    with torch.no_grad():
        for parameter in model.mask_decoder.parameters():
            parameter.fill_(float("nan"))
    scores = ValidationSet(model, [labelled()]).scores()
    assert [score.mean for score in scores] == [0.0, 0.0]
    assert [score.clicks_to_90 for score in scores] == [NOT_WITHIN, NOT_WITHIN]


def perfect_after(clicks: int) -> Ask:
    """Answers with nothing until there are so many clicks; then with the first disc."""

    def ask(prompt: Prompt) -> SegmentResult:
        mask = disc(30, 40, 14)
        if prompt.box is None and len(prompt.points) < clicks:
            mask = np.zeros_like(mask)
        return result(mask)

    return ask


def result(mask: np.ndarray) -> SegmentResult:
    logits = mask.astype(np.float32)
    prediction = Prediction(mask, logits, 0.5, np.zeros((1, 64, 64), dtype=np.float32))
    return SegmentResult(prediction, Timings(0, 0, 0, 0), "torch fp32", cached=True)


@pytest.mark.parametrize("clicks", [1, 2, 5])
def test_clicks_to_a_good_mask_are_counted(clicks: int) -> None:
    image = dataclasses.replace(labelled(), masks=labelled().masks[:1], labels=("liver",))
    (score,) = validate(lambda _: perfect_after(clicks), [image])
    assert score.clicks_to_90 == clicks
    assert score.by_clicks == (0.0,) * (clicks - 1) + (1.0,) * (6 - clicks)
    assert score.dice == {"box": 1.0, "1": float(clicks == 1), "3": float(clicks <= 3), "5": 1.0}


def test_an_object_that_is_never_found_counts_six() -> None:
    image = dataclasses.replace(labelled(), masks=labelled().masks[:1], labels=("liver",))
    (score,) = validate(lambda _: perfect_after(9), [image], Plan(box=False, clicks=(1, 5)))
    assert score.clicks_to_90 == NOT_WITHIN
    assert score.dice == {"1": 0.0, "5": 0.0}


def test_a_plan_with_the_box_alone_still_counts_clicks() -> None:
    image = dataclasses.replace(labelled(), masks=labelled().masks[:1], labels=("liver",))
    (score,) = validate(lambda _: perfect_after(2), [image], Plan(box=True, clicks=()))
    assert (score.dice, score.clicks_to_90) == ({"box": 1.0}, 2)


def test_empty_masks_and_images_without_any_are_left_out() -> None:
    full = labelled("full")
    hole = dataclasses.replace(
        full, name="hole", masks=np.stack([full.masks[0] & False, full.masks[0]])
    )
    empty = dataclasses.replace(full, name="empty", masks=full.masks[:0], labels=())
    opened = []

    def open_image(image: LabelledImage) -> Ask:
        opened.append(image.name)
        return perfect_after(1)

    seen: list[tuple[int, int]] = []
    scores = validate(open_image, [empty, hole], progress=lambda *done: seen.append(done))
    assert [(score.image, score.label) for score in scores] == [("hole", "spleen")]
    assert (opened, seen) == (["hole"], [(1, 1)])
    assert validate(open_image, []) == ()


def many(count: int) -> list[LabelledImage]:
    pixels = np.zeros((4, 4), dtype=np.uint8)
    masks = np.ones((3, 4, 4), dtype=bool)
    return [LabelledImage(f"v#k{k:04d}", "p", pixels, masks, ("a", "b", "c")) for k in range(count)]


def names(images: list[LabelledImage], limit: int) -> set[tuple[str, int]]:
    return {
        (image.name, number)
        for image, numbers in chosen_targets(images, limit)
        for number in numbers
    }


@given(st.integers(1, 12), st.integers(0, 40), st.randoms())
def test_the_choice_depends_on_names_alone(count: int, limit: int, random: object) -> None:
    images = many(count)
    chosen = names(images, limit)
    assert len(chosen) == min(limit, 3 * count)
    shuffled = images.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert names(shuffled, limit) == chosen
    # One more slice pushes at most its own three objects in.
    assert len(chosen - names(many(count + 1), limit)) <= 3


def test_the_order_is_that_of_the_images() -> None:
    chosen = chosen_targets(many(6), 7)
    assert [image.name for image, _ in chosen] == sorted(image.name for image, _ in chosen)
    assert all(numbers == sorted(numbers) for _, numbers in chosen)


def score(image: str, patient: str, box: float, one: float, clicks: int) -> TargetScore:
    return TargetScore(image, patient, "liver", {"box": box, "1": one}, clicks)


def test_summaries() -> None:
    scores = (score("a", "p", 1.0, 0.5, 1), score("b", "p", 0.5, 0.0, 6), score("c", "q", 0, 1, 2))
    summary = Summary.of(scores)
    assert summary.dice == {"box": 0.5, "1": 0.5}
    assert (summary.clicks_to_90, summary.n_targets, summary.n_patients) == (3.0, 3, 2)
    assert scores[0].mean == 0.75
    assert Summary.of(()) == Summary({}, 0.0, 0, 0)

"""How good a network is with a simulated user, on labelled slices; also while it is in training.

Every object is segmented from its exact box and by five clicks (`lib.training.evaluate`), on images
shown as the server shows them, without zoom. Nothing is random. Answers come from the parts of
`lib.inference` that have no state; what they remember is forgotten with each image, so no answer
outlives a change of the weights.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from lib.data.pool import LabelledImage
from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import ChainDecoder
from lib.inference.correction import nowhere
from lib.inference.decoder import Embedding, LowRes, PromptDecoder
from lib.inference.embedder import Embedded, prepare_image
from lib.inference.predictor import Prediction
from lib.inference.segmenter import SegmentResult, Timings
from lib.inference.view import SliceView
from lib.inference.volume_mask import PackedMask
from lib.networks.backends import TorchEncoder
from lib.networks.sam import AdapterSam
from lib.prompts.prompt import Prompt
from lib.training.evaluate import Ask, Plan, annotate

CLICKS = 5
"""So many clicks each object gets."""
GOOD_DICE = 0.9
NOT_WITHIN = CLICKS + 1
"""Counted for an object that five clicks do not bring to a Dice of 0.9."""
PLAN = Plan(box=True, clicks=(1, 3, 5))
LIMIT = 200
"""Objects that are enough to tell a gain of a few hundredths of Dice."""
CHAIN_BYTES = 1 << 20
"""For 64 stages of prompts; one object has at most 20."""


@dataclass(frozen=True)
class TargetScore:
    """How well one object was segmented.

    Attributes:
        image: name of the slice.
        patient: whose it is.
        label: name of the label.
        dice: by prompt: "box", "1", "3", "5" (clicks).
        clicks_to_90: clicks until the Dice was 0.9 for the first time; 6 where five were too few.
        target: number of the object on the slice.
        by_clicks: Dice after 1, 2, ... 5 clicks.
        mask: after the first click, for the report.
    """

    image: str
    patient: str
    label: str
    dice: Mapping[str, float]
    clicks_to_90: int
    target: int = 0
    by_clicks: tuple[float, ...] = ()
    mask: PackedMask | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> tuple[str, int]:
        """Names the object among all others."""
        return self.image, self.target

    @property
    def mean(self) -> float:
        """Mean Dice over the prompts."""
        return sum(self.dice.values()) / len(self.dice)


@dataclass(frozen=True)
class Summary:
    """Figures over objects.

    Attributes:
        dice: mean by prompt; empty where there is no object.
        clicks_to_90: mean; 0 where there is no object.
        n_targets: objects.
        n_patients: patients they belong to.
    """

    dice: Mapping[str, float]
    clicks_to_90: float
    n_targets: int
    n_patients: int

    @classmethod
    def of(cls, scores: Sequence[TargetScore]) -> Summary:
        """Means over all objects."""
        if not scores:
            return cls({}, 0.0, 0, 0)
        dice = {name: float(np.mean([s.dice[name] for s in scores])) for name in scores[0].dice}
        clicks = float(np.mean([s.clicks_to_90 for s in scores]))
        return cls(dice, clicks, len(scores), len({s.patient for s in scores}))


class ValidationSet:
    """Labelled slices that a network is judged on, again and again.

    Args:
        model: on its device; may be in training, and stays in the mode it is in.
        images: with their objects.
        keep: encode each image once for all calls: only for a network whose encoder does not
            change. Takes about 0.3 MB for each image.
        limit: at most so many objects, always the same ones.
        plan: prompts that are scored.
    """

    def __init__(
        self,
        model: AdapterSam,
        images: Sequence[LabelledImage],
        keep: bool = False,
        limit: int = LIMIT,
        plan: Plan = PLAN,
    ) -> None:
        self._model, self._images, self._keep = model, tuple(images), keep
        self._limit, self._plan = limit, plan
        self._embeddings: dict[int, Embedding] = {}

    def scores(
        self, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> tuple[TargetScore, ...]:
        """Judge the network as it is now.

        Args:
            progress: called with objects done and in all.

        Raises:
            ImageError: pixels that are no image.
        """
        with evaluating(self._model):
            encoders: list[TorchEncoder] = []  # made when the first image needs one

            def open_image(image: LabelledImage) -> Ask:
                embedding = self._embeddings.get(id(image))
                if embedding is None:
                    if not encoders:
                        encoders.append(TorchEncoder(self._model))
                    embedding = embed(self._model, encoders[0], image)
                    if self._keep:
                        self._embeddings[id(image)] = embedding
                return ask_with(self._model, embedding)

            return validate(open_image, self._images, self._plan, self._limit, progress)


def validate(
    open_image: Callable[[LabelledImage], Ask],
    images: Sequence[LabelledImage],
    plan: Plan = PLAN,
    limit: int = LIMIT,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[TargetScore, ...]:
    """Let the simulated user segment all objects, or a fixed choice of them.

    Args:
        open_image: gives what answers prompts on an image; called once for each image.
        images: with their objects; empty masks are left out.
        plan: prompts that are scored.
        limit: at most so many objects, see `chosen_targets`.
        progress: called with objects done and in all.

    Returns:
        A score for each object, in the order of the images.
    """
    chosen = chosen_targets(images, limit)
    total = sum(len(numbers) for _, numbers in chosen)
    scores: list[TargetScore] = []
    for image, numbers in chosen:
        ask = open_image(image)
        for number in numbers:
            scores.append(_score(ask, image, number, plan))
            progress(len(scores), total)
    return tuple(scores)


def chosen_targets(
    images: Sequence[LabelledImage], limit: int
) -> list[tuple[LabelledImage, list[int]]]:
    """Images with the numbers of the objects to score: those whose names have the lowest hashes.

    The choice depends on the names alone, so it is the same in every run, and one more slice
    exchanges few objects.
    """
    found = [
        (_rank(image.name, number), position, number)
        for position, image in enumerate(images)
        for number, mask in enumerate(image.masks)
        if mask.any()
    ]
    kept: dict[int, list[int]] = {}
    for _, position, number in sorted(found)[:limit]:
        kept.setdefault(position, []).append(number)
    return [(images[position], sorted(kept[position])) for position in sorted(kept)]


def embed(model: AdapterSam, encoder: TorchEncoder, image: LabelledImage) -> Embedding:
    """Encode an image as the server shows it.

    Raises:
        ImageError: pixels that are no image.
    """
    view = SliceView(image.image, model.config.intensity, image.modality, image.body_part)
    return Embedding(encoder.encode(prepare_image(model, view.image8())), view.height, view.width)


def ask_with(model: AdapterSam, embedding: Embedding) -> Ask:
    """What answers prompts on an encoded image with the weights as they are now.

    It remembers the stages of prompts: make a new one when the weights have changed.

    Args:
        model: in evaluation mode.
        embedding: of the image, on the model's device.
    """
    decoder = _FiniteDecoder(model, model.pixel_mean.device)
    chains = ChainDecoder(decoder, ByteBoundedCache(CHAIN_BYTES))
    image = Embedded(embedding, "image", "torch fp32", cached=True)

    def ask(prompt: Prompt) -> SegmentResult:
        answer = chains.answer(image, prompt)
        logits = decoder.enlarge(answer, embedding.height, embedding.width)
        prediction = Prediction(logits > 0, logits, answer.iou, answer.logits)
        return SegmentResult(prediction, Timings(0, 0, 0, 0), image.encoder, image.cached)

    return ask


class _FiniteDecoder(PromptDecoder):
    """Takes an answer that is no number for one without an object: a score of 0, not an error."""

    def decode(
        self, embedding: Embedding, prompts: Sequence[Prompt], multimask: bool = True
    ) -> list[LowRes]:
        rows = super().decode(embedding, prompts, multimask)
        return [row if np.isfinite(row.logits).all() else nowhere() for row in rows]


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; then every part is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _score(ask: Ask, image: LabelledImage, number: int, plan: Plan) -> TargetScore:
    every = Plan(plan.box, tuple(range(1, max((CLICKS, *plan.clicks)) + 1)))
    answers = annotate(ask, image.masks[number], every)
    by_clicks = tuple(answers[str(count)].dice for count in range(1, CLICKS + 1))
    return TargetScore(
        image=image.name,
        patient=image.patient,
        label=image.labels[number],
        dice={name: answers[name].dice for name in plan.names},
        clicks_to_90=clicks_to(GOOD_DICE, by_clicks),
        target=number,
        by_clicks=by_clicks,
        mask=PackedMask.pack(answers["1"].mask),
    )


def clicks_to(wanted: float, by_clicks: Sequence[float]) -> int:
    """Clicks until a Dice is reached for the first time; `NOT_WITHIN` where it never is."""
    reached = (count for count, dice in enumerate(by_clicks, start=1) if dice >= wanted)
    return next(reached, NOT_WITHIN)


def _rank(image: str, number: int) -> bytes:
    return hashlib.sha256(f"{image}:{number}".encode()).digest()

"""Who answers: the network in one of its settings, or what one gets without any."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lib.data.pool import LabelledImage
from lib.imaging.geometry import PadFrame
from lib.imaging.intensity import normalise_slice
from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import ChainDecoder
from lib.inference.decoder import PromptDecoder
from lib.inference.embedder import SliceEmbedder
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.segmenter import SliceSegmenter
from lib.inference.view import SliceView
from lib.inference.worker import PriorityWorker
from lib.networks import AdapterSam
from lib.networks.backends import Encoder
from lib.prompts.prompt import Prompt
from lib.prompts.simulate import LegacyRandom
from lib.training.baselines import ask_without_network
from lib.training.evaluate import Answer, Ask, Interaction, Plan, agreement, interact
from lib.training.published_eval import (
    Decode,
    PublishedImage,
    annotate_published,
    decode_without_network,
)
from scripts._evaluation.rows import WITHOUT_NETWORK, Setting

MIB = 1 << 20


@dataclass(frozen=True)
class Task:
    """What is asked of every contestant.

    Attributes:
        plan: prompts that are scored.
        most: clicks until the user gives up; 0 where that is not counted.
        at_once: give the points of the paper's protocol together.
    """

    plan: Plan
    most: int
    at_once: bool = False


class Opened(Protocol):
    """An image in front of somebody who answers."""

    encode_seconds: float

    def segment(self, index: int) -> Interaction:
        """Let the simulated user segment one object of the image."""

    def same(self, answers: Mapping[str, Answer]) -> dict[str, float]:
        """Dice with somebody else's answers to the same prompts; empty where not comparable."""


class Contestant(Protocol):
    """Somebody who answers, in one setting."""

    setting: Setting

    def open(self, image: LabelledImage) -> Opened:
        """Look at an image.

        Raises:
            ImageError: pixels that are no image.
        """


@dataclass(frozen=True)
class ClickedImage:
    """Protocol ``noc`` on one image."""

    ask: Ask
    masks: NDArray[np.bool_]
    task: Task
    encode_seconds: float = 0.0

    def segment(self, index: int) -> Interaction:
        """See `Opened`."""
        return interact(self.ask, self.masks[index], self.task.plan, self.task.most)

    def same(self, answers: Mapping[str, Answer]) -> dict[str, float]:
        """See `Opened`."""
        return agreement(self.ask, answers)


@dataclass(frozen=True)
class PublishedPrompts:
    """Protocol ``paper`` on one image; the points of an object depend on its name alone."""

    decode: Decode
    frame: PadFrame
    image: LabelledImage
    task: Task
    encode_seconds: float = 0.0

    def segment(self, index: int) -> Interaction:
        """See `Opened`."""
        name = hashlib.sha256(f"{self.image.name}/{index}".encode()).digest()
        random = LegacyRandom(int.from_bytes(name[:4], "big"))
        target, plan = self.image.masks[index], self.task.plan
        answers = annotate_published(
            self.decode, self.frame, target, plan, random, self.task.at_once
        )
        return Interaction(answers, ())

    def same(self, answers: Mapping[str, Answer]) -> dict[str, float]:
        """See `Opened`; an answer here depends on the network's answers before it."""
        return {}


class Network:
    """A setting with a network and caches of its own, so that none profits from another."""

    def __init__(self, setting: Setting, model: AdapterSam, encoder: Encoder, task: Task) -> None:
        self.setting = setting
        self._task = task
        self._intensity = model.config.intensity
        decoder = PromptDecoder(model, model.pixel_mean.device)
        self._segmenter = SliceSegmenter(
            SliceEmbedder(model, encoder, EmbeddingStore(64 * MIB), model.config.name),
            decoder,
            ChainDecoder(decoder, ByteBoundedCache(16 * MIB)),
            PriorityWorker(),
        )

    def open(self, image: LabelledImage) -> Opened:
        """Encode an image."""
        view = SliceView(image.image, self._intensity, image.modality)
        segmenter, zoom = self._segmenter, self.setting.zoom
        first = segmenter.segment(view, Prompt(points=((0, 0),), labels=(1,)), zoom="off")
        return ClickedImage(
            lambda prompt: segmenter.segment(view, prompt, zoom=zoom),
            image.masks,
            self._task,
            first.timings.encode,
        )


class PublishedNetwork:
    """A network as the test script of SAM-Med2D uses it."""

    def __init__(self, setting: Setting, model: AdapterSam, encoder: Encoder, task: Task) -> None:
        self.setting = setting
        self._model, self._encode, self._task = model, encoder.encode, task

    def open(self, image: LabelledImage) -> Opened:
        """Encode an image."""
        opened = PublishedImage(self._model, published_pixels(image), self._encode)
        return PublishedPrompts(opened.decode, opened.frame, image, self._task)


@dataclass(frozen=True)
class NoNetwork:
    """The baselines, `lib.training.baselines`, in protocol ``noc`` or ``paper``."""

    task: Task
    protocol: str
    intensity: str
    size: int
    setting: Setting = WITHOUT_NETWORK

    def open(self, image: LabelledImage) -> Opened:
        """Nothing is encoded."""
        if self.protocol == "paper":
            pixels = published_pixels(image)
            frame = PadFrame(pixels.shape[0], pixels.shape[1], self.size)
            decode = decode_without_network(pixels, frame)
            return PublishedPrompts(decode, frame, image, self.task)
        grey = SliceView(image.image, self.intensity, image.modality).image8()
        return ClickedImage(ask_without_network(grey), image.masks, self.task)


def published_pixels(image: LabelledImage) -> NDArray[np.uint8]:
    """An image (H, W, 3) as the test script would read it: 8 bit, blue first.

    8 bit images are taken as they are, others stretched from their smallest to their largest value
    as the data of SAM-Med2D were.

    Raises:
        ImageError: pixels that are no image.
    """
    pixels = image.image
    if pixels.dtype == np.uint8 and pixels.ndim == 2:
        return np.repeat(pixels[:, :, None], 3, axis=2).astype(np.uint8)
    how = "auto" if pixels.dtype == np.uint8 else "minmax"
    rgb = normalise_slice(pixels, how)
    return np.ascontiguousarray(rgb[:, :, ::-1])


def enter(
    settings: Sequence[Setting],
    encoder_of: Callable[[str], Encoder],
    model: AdapterSam,
    task: Task,
    protocol: str,
) -> list[Contestant]:
    """All contestants: the settings in their order, then the one without network.

    Args:
        settings: of the network.
        encoder_of: makes the encoder of a precision.
        model: the network.
        task: what is asked.
        protocol: "noc" or "paper".
    """
    kind = PublishedNetwork if protocol == "paper" else Network
    encoders = {
        name: encoder_of(name) for name in dict.fromkeys(setting.precision for setting in settings)
    }
    entrants: list[Contestant] = [
        kind(setting, model, encoders[setting.precision], task) for setting in settings
    ]
    config = model.config
    return [*entrants, NoNetwork(task, protocol, config.intensity, config.image_size)]

"""The two ways to train on one batch that ``benchmark.py train`` compares.

Both learn adapters, prompt encoder and decoder from nine steps of an interaction. The original
updates its weights after each step, ours once a batch. Both sides run through
`lib.training.loop.interact`, which repeats the original's loop to the letter where it is told to
(``after="step"``); the original side calls the original's own modules.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lib.data.phantoms import make_phantom
from lib.networks import AdapterSam, PromptTensors
from lib.networks.backends import choose_device
from lib.networks.training_encoder import TrainingEncoder
from lib.training.learner import Learner
from lib.training.loop import Batch, interact
from lib.training.parallel import LocalNetwork, TrainedNetwork
from lib.training.recipe import DEFAULT, PAPER, prepare_parameters
from scripts._benchmark.network import NetworkSource
from scripts._benchmark.upstream import OriginalNetwork

PROGRESS = 0.5
"""Share of a run that has passed; the learning rate is not zero there."""


@dataclass(frozen=True)
class SidePlan:
    """What both sides need to know.

    Attributes:
        source: the network.
        images: in a batch.
        masks: of each image.
        threads: of torch.
        device: "cpu", "cuda" or "auto".
        autocast: our side's reduced precision, None for float32.
        upstream: checkout of the original; None takes our modules, unchanged, in its loop.
    """

    source: NetworkSource
    images: int
    masks: int
    threads: int
    device: str = "cpu"
    autocast: torch.dtype | None = None
    upstream: Path | None = None


@dataclass(frozen=True)
class Laps:
    """Seconds of one batch.

    Attributes:
        encode: images to embeddings.
        learn: from a loss through the encoder to new weights. The original's first step, whole;
            our last step's way back, which carries the gradients of all nine.
        steps: the rest of the interaction: eight of the original's steps with an update each,
            nine of ours without.
        processor: of all cores, for everything.
        gpu_mib: the most that was taken of a GPU's memory so far; None without one.
    """

    encode: float
    learn: float
    steps: float
    processor: float
    gpu_mib: float | None = None

    @property
    def total(self) -> float:
        """Seconds of the whole batch."""
        return self.encode + self.learn + self.steps


class _Watched:
    """A network that notes when it had encoded and when it had decoded."""

    def __init__(self, network: TrainedNetwork) -> None:
        self._network, self.model = network, network.model
        self.encoded = self.decoded = 0.0

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        embeddings = self._network.encode(images)
        self.encoded = _now(self.model)
        return embeddings

    def decode(
        self, embeddings: torch.Tensor, prompts: PromptTensors, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        answer = self._network.decode(embeddings, prompts, multimask)
        self.decoded = _now(self.model)
        return answer

    def apart(self) -> AbstractContextManager[None]:
        return self._network.apart()


def our_side(plan: SidePlan) -> Callable[[], Laps]:
    """Our training of one batch: `lib.training.learner.Learner` with the default recipe."""
    model = _prepare(plan)
    prepare_parameters(model, "adapters", DEFAULT)
    encode = TrainingEncoder(model, plan.autocast)
    network = _Watched(LocalNetwork(model, encode))
    learner = Learner(network, DEFAULT, autocast=plan.autocast)
    batch = make_batch(plan, model.config.image_size)

    def one_batch() -> Laps:
        started, processor = _now(model), time.process_time()
        learner.learn(batch, lambda: np.random.default_rng(plan.source.seed), PROGRESS)
        ended = _now(model)
        return Laps(
            encode=network.encoded - started,
            steps=network.decoded - network.encoded,
            learn=ended - network.decoded,
            processor=time.process_time() - processor,
            gpu_mib=_gpu_mib(model),
        )

    return one_batch


def original_side(plan: SidePlan) -> Callable[[], Laps]:
    """The original's training of one batch: float32, Adam over all parameters, nine updates."""
    model = _prepare(plan)
    if plan.upstream is None:
        network = _Watched(LocalNetwork(model))
    else:
        network = _Watched(OriginalNetwork(plan.upstream, model))
        model.to(choose_device(plan.device)).train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith("image_encoder.") or "Adapter" in name)
    optimiser = torch.optim.Adam(model.parameters(), lr=PAPER.learning_rate)
    batch = make_batch(plan, model.config.image_size)
    updated: list[float] = []

    def update() -> None:
        optimiser.step()
        optimiser.zero_grad()
        updated.append(_now(model))

    def one_batch() -> Laps:
        updated.clear()
        prompter = PAPER.prompter(batch.targets, np.random.default_rng(plan.source.seed))
        started, processor = _now(model), time.process_time()
        interact(network, batch, prompter, PAPER.objective(), update, PAPER.after)
        ended = _now(model)
        return Laps(
            encode=network.encoded - started,
            learn=updated[0] - network.encoded,
            steps=ended - updated[0],
            processor=time.process_time() - processor,
            gpu_mib=_gpu_mib(model),
        )

    return one_batch


def make_batch(plan: SidePlan, size: int) -> Batch:
    """Seeded phantoms, each with the same number of objects; objects repeat where it has fewer."""
    rng = np.random.default_rng([plan.source.seed, 3])
    phantoms = [make_phantom(rng, size) for _ in range(plan.images)]
    pixels = [p.image if p.image.ndim == 3 else np.stack([p.image] * 3, -1) for p in phantoms]
    targets = [p.masks[np.arange(plan.masks) % len(p.masks)] for p in phantoms]
    return Batch(
        images=torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float(),
        targets=np.concatenate(targets),
        image_of=torch.arange(plan.images).repeat_interleave(plan.masks),
    )


def _prepare(plan: SidePlan) -> AdapterSam:
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.source.seed)
    return plan.source.load().to(choose_device(plan.device)).train()


def _gpu_mib(model: AdapterSam) -> float | None:
    return torch.cuda.max_memory_allocated() / 2**20 if model.pixel_mean.is_cuda else None


def _now(model: AdapterSam) -> float:
    """The clock, when a GPU has done what it was told to do so far."""
    if model.pixel_mean.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()

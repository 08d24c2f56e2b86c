"""The part of a run that changes weights: optimiser, schedule, moving average, memory.

A batch that does not fit into memory is divided in two, and all later ones too; what was computed
of it is thrown away.
"""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.errors import TrainingError
from lib.training.loop import Batch, BatchResult, interact
from lib.training.parallel import TrainedNetwork, mean_of
from lib.training.recipe import Recipe, learning_parameters

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LearnerState:
    """Everything a learner needs to go on, as tensors and plain values.

    Attributes:
        weights: learning parameters by name.
        average: their moving average; empty where the recipe has none.
        optimiser: its state dict.
        updates: made so far.
        parts: into how many each batch is divided.
    """

    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    optimiser: dict[str, Any]
    updates: int
    parts: int


class Learner:
    """Learns from batches.

    Args:
        network: in training mode, after `lib.training.recipe.prepare_parameters`.
        recipe: everything else.
        learning_rate: in place of the recipe's, or None.
        autocast: reduced precision, None for float32.
    """

    def __init__(
        self,
        network: TrainedNetwork,
        recipe: Recipe,
        learning_rate: float | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.network, self._autocast = network, autocast
        self.recipe = (
            recipe if learning_rate is None else replace(recipe, learning_rate=learning_rate)
        )
        self.parameters = learning_parameters(network.model)
        self.optimiser = self.recipe.optimiser(self.parameters)
        self._objective = self.recipe.objective()
        self._average = self._copies() if recipe.ema is not None else {}
        self.updates = 0
        self.parts = 1

    def learn(
        self, batch: Batch, rng: Callable[[], np.random.Generator], progress: float
    ) -> BatchResult:
        """Learn from one batch; halved and tried again where memory does not suffice.

        Args:
            batch: this process's part.
            rng: makes the generator of the batch, anew for each try.
            progress: share of the run that has passed, 0..1; decides the learning rate.

        Returns:
            Losses and Dice, means over all processes.

        Raises:
            TrainingError: a loss that is no number, or one image alone needs too much memory.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(progress) * group["rate"]
        while True:
            try:
                results = [self._interact(part, rng()) for part in divided(batch, self.parts)]
                break
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self._give_up_memory(batch)
        if self.recipe.after == "batch":
            self._update()
        return _mean(results)

    def rate(self, progress: float) -> float:
        """Learning rate after a share of the run: linear warm-up, then a cosine to zero."""
        recipe = self.recipe
        if not recipe.schedule:
            return recipe.learning_rate
        if progress < recipe.warmup:
            return recipe.learning_rate * max(progress / recipe.warmup, 0.02)
        share = min(1.0, (progress - recipe.warmup) / (1 - recipe.warmup))
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * share))

    def result(self) -> dict[str, Tensor]:
        """Copies of the learning parameters as they would be published: their moving average."""
        source = self._average or {n: p.detach() for n, p in self.parameters.items()}
        return {name: tensor.clone() for name, tensor in source.items()}

    def state(self) -> LearnerState:
        """To be saved at once: its tensors are those that learn."""
        weights = {name: parameter.detach() for name, parameter in self.parameters.items()}
        return LearnerState(
            weights, self._average, self.optimiser.state_dict(), self.updates, self.parts
        )

    @torch.no_grad()
    def restore(self, state: LearnerState) -> None:
        """Go on from a saved state.

        Raises:
            TrainingError: the state belongs to other parameters.
        """
        if set(state.weights) != set(self.parameters):
            raise TrainingError(
                got="a saved run with other learning parameters",
                allowed="the same network and the same part of it",
                todo="start anew with resume off",
            )
        for name, parameter in self.parameters.items():
            parameter.copy_(state.weights[name])
        for name, tensor in self._average.items():
            tensor.copy_(state.average[name])
        self.optimiser.load_state_dict(state.optimiser)
        self.updates, self.parts = state.updates, state.parts

    def _interact(self, batch: Batch, rng: np.random.Generator) -> BatchResult:
        result = interact(
            self.network,
            batch,
            self.recipe.prompter(batch.targets, rng, batch.rows),
            self._objective,
            self._update if self.recipe.after == "step" else lambda: None,
            self.recipe.after,
            self._autocast,
            self.recipe.first_weight,
        )
        if not all(math.isfinite(loss) for loss in result.losses):
            self.optimiser.zero_grad(set_to_none=True)
            raise TrainingError(
                got=f"a loss that is no number after {self.updates} updates",
                allowed="finite losses",
                todo="train again with a smaller learning_rate; the serving model is untouched",
            )
        return _shared(result, batch.share, self.network.model.pixel_mean.device)

    def _update(self) -> None:
        if self.recipe.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.updates += 1
        if self._average and self.recipe.ema is not None:
            # Shorter memory at the beginning: the first weights are those of the old model.
            decay = min(self.recipe.ema, (1 + self.updates) / (10 + self.updates))
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    self._average[name].lerp_(parameter, 1 - decay)

    def _give_up_memory(self, batch: Batch) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        if torch.distributed.is_initialized():
            # The others wait for this process at their next exchange.
            raise TrainingError(
                got="a batch that does not fit into the memory of one of the processes",
                allowed="one that fits into each of them",
                todo="train again with a smaller train_batch_size",
            )
        if self.parts >= len(batch.targets):
            raise TrainingError(
                got="a single object of one image, which does not fit into memory",
                allowed="a network that this machine can train",
                todo="train the part 'decoder', or use a smaller network or a larger machine",
            )
        self.parts *= 2
        logger.warning("out of memory: each batch is divided into %d parts from now on", self.parts)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _copies(self) -> dict[str, Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, on a GPU or on a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return "not enough memory" in text or "can't allocate memory" in text


def divided(batch: Batch, parts: int) -> Iterator[Batch]:
    """A batch in about equal parts, by rows; each weighs as much as it has rows."""
    rows = len(batch.targets)
    numbers = batch.rows or range(rows)
    for chosen in np.array_split(np.arange(rows), min(parts, rows)):
        if parts == 1:
            yield batch
            return
        images, image_of = torch.unique(batch.image_of[chosen], return_inverse=True)
        yield replace(
            batch,
            images=batch.images[images],
            targets=batch.targets[chosen],
            image_of=image_of,
            rows=tuple(numbers[n] for n in chosen),
            share=batch.share * len(chosen) / rows,
        )


def _shared(result: BatchResult, share: float, device: torch.device) -> BatchResult:
    """The weighed means of a batch over all processes."""
    if not torch.distributed.is_initialized():
        return result
    return BatchResult(
        tuple(mean_of(loss * share, device) for loss in result.losses),
        tuple(mean_of(dice * share, device) for dice in result.dices),
    )


def _mean(results: list[BatchResult]) -> BatchResult:
    if len(results) == 1:
        return results[0]
    losses = np.mean([result.losses for result in results], axis=0)
    dices = np.mean([result.dices for result in results], axis=0)
    return BatchResult(tuple(map(float, losses)), tuple(map(float, dices)))

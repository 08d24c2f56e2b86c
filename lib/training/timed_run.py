"""A training run of a given time or number of steps, which goes on where it was saved.

What all such runs share, whatever they learn from: optimiser, learning rate, moving average of the
weights (the result, which is better than the last step's in short runs), clock, saving. What is
learned from a batch is for the classes built on this one.
"""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, Self, TypeVar, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from lib.errors import OptionError, Samed2dError
from lib.networks.checkpoint import save_weights
from lib.training.loop import BatchResult
from lib.training.muon import Muon, matrices_of
from lib.training.parallel import average_gradients, mean_of
from lib.training.processes import Place

Model = TypeVar("Model", bound=nn.Module)
Item = TypeVar("Item")
"""What is learned from at once: a batch, and what must be known of where it came from."""
Phase = TypeVar("Phase")
"""What a part of the run is learned from."""

OptimiserName = Literal["adamw", "muon"]
OPTIMISERS: tuple[OptimiserName, ...] = get_args(OptimiserName)


@dataclass(frozen=True)
class RunPlan:
    """How a run goes, whatever it learns from.

    Attributes:
        minutes: length of the run; the learning rate follows the share of it that has passed.
        steps: length in steps instead, which another machine repeats; 0: minutes count.
        batch_size: images or windows a step of each process.
        learning_rate: peak, reached after ``warmup`` of the run, then a cosine down to zero.
        optimiser: "adamw" for all, or "muon" for matrices and kernels, see `lib.training.muon`.
        weight_decay: on matrices and kernels only.
        clip: largest norm of the gradient.
        ema: decay of the moving average of the weights; less at first, so that the average is
            soon rid of the random numbers that a run begins with.
        seed: of data and prompts.
        threads: of torch in each process.
        bf16: run the network in bfloat16 autocast (needs AVX512-BF16 or AMX to be faster).
    """

    minutes: float = 60.0
    steps: int = 0
    batch_size: int = 8
    learning_rate: float = 6e-4
    warmup: float = 0.03
    optimiser: OptimiserName = "adamw"
    weight_decay: float = 0.05
    clip: float = 1.0
    ema: float = 0.998
    seed: int = 1
    threads: int = 1
    bf16: bool = True


def warm_cosine(passed: float, warmup: float) -> float:
    """Share of the peak learning rate: linear warm-up, then a cosine to zero.

    Args:
        passed: share of the run, 0..1.
        warmup: share of the run that the warm-up takes.
    """
    if passed < warmup:
        return max(passed / warmup, 0.01)
    share = (passed - warmup) / (1 - warmup)
    return 0.5 * (1 + math.cos(math.pi * share))


class TimedRun(ABC, Generic[Model, Item, Phase]):
    """Model, optimiser, moving average, clock. `run` goes on to the end of the plan.

    Args:
        model: to train; equal in all processes. It has ``config.name``.
        learning: its parameters that learn.
        plan: of the run.
        out: folder of the results; the leading process writes them.
        place: of this process among those that learn together, see `lib.training.processes`.

    Raises:
        OptionError: the plan names no optimiser that there is.
    """

    def __init__(
        self,
        model: Model,
        learning: Sequence[nn.Parameter],
        plan: RunPlan,
        out: Path,
        place: Place | None = None,
    ) -> None:
        self.model, self.schedule, self.out = model.train(), plan, out
        self.place = place or Place()
        self.step = 0
        self.seconds = 0.0
        self.average = AveragedModel(model, multi_avg_fn=partial(_move_average, plan.ema))
        self.optimisers = _optimisers(model, learning, plan)

    @abstractmethod
    def phases(self) -> Sequence[tuple[Phase, float]]:
        """What is learned from, each with the share of the run at which it ends."""

    @abstractmethod
    def batches(self, phase: Phase, seeds: tuple[int, ...]) -> Iterator[Item]:
        """Endless batches of a phase; other ``seeds`` give others."""

    @abstractmethod
    def learn(self, item: Item, rng: np.random.Generator) -> BatchResult:
        """One step; leaves it to `update` to change the weights."""

    @property
    def averaged_model(self) -> Model:
        """The moving average as a model in evaluation mode."""
        return cast(Model, self.average.module.eval())

    @property
    def passed(self) -> float:
        """Share of the run that has passed, 0..1."""
        if self.schedule.steps:
            return min(1.0, self.step / self.schedule.steps)
        return min(1.0, self.seconds / (60 * self.schedule.minutes))

    def learning_rate(self) -> float:
        """The rate for the share of the run that has passed."""
        return self.schedule.learning_rate * warm_cosine(self.passed, self.schedule.warmup)

    def run(self, report: Callable[[Self, BatchResult], None]) -> None:
        """Train to the end of the plan, calling ``report`` after every step.

        Raises:
            Samed2dError: the loss is no longer a number; the last saved state is intact.
        """
        torch.set_num_threads(self.schedule.threads)
        started = time.monotonic() - self.seconds
        for phase, share in self.phases():
            if self.passed < share:
                self._run_until(share, phase, started, report)

    def _run_until(
        self,
        end: float,
        phase: Phase,
        started: float,
        report: Callable[[Self, BatchResult], None],
    ) -> None:
        seeds = (self.schedule.seed, self.step, self.place.rank)
        rng = np.random.default_rng(seeds)
        for item in self.batches(phase, seeds):
            result = self.learn(item, rng)
            self.step += 1
            # All processes must end at the same step.
            self.seconds = mean_of(time.monotonic() - started, self._device)
            report(self, result)
            if self.passed >= end:
                return

    def begin_step(self) -> None:
        """Set the learning rate, forget the gradients."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.learning_rate()
            optimiser.zero_grad(set_to_none=True)

    def update(self, result: BatchResult) -> None:
        """Change the weights by the gradients in them.

        Raises:
            Samed2dError: a loss that is no number; nothing was changed.
        """
        if not all(math.isfinite(loss) for loss in result.losses):
            raise Samed2dError(
                got=f"a loss that is no number at step {self.step}",
                todo="resume from the saved state with a smaller learning rate",
            )
        average_gradients(self.model)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        for optimiser in self.optimisers:
            optimiser.step()
        self.average.update_parameters(self.model)

    def save(self) -> None:
        """Write the averaged weights (float16 safetensors) and the state to resume from."""
        self.out.mkdir(parents=True, exist_ok=True)
        facts = {"step": str(self.step), "plan": json.dumps(asdict(self.schedule))}
        path = self.out / f"{cast(Any, self.model).config.name}.safetensors"
        save_weights(self.averaged_model, path, dtype=torch.float16, metadata=facts)
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "step": self.step,
            "seconds": self.seconds,
            **self.more_state(),
        }
        unfinished = self.out / "resume.pt.part"
        torch.save(state, unfinished)
        unfinished.replace(self.out / "resume.pt")

    def resume(self) -> bool:
        """Go on from the state saved in ``out``; False where there is none.

        Raises:
            OptionError: that run had another optimiser.
        """
        path = self.out / "resume.pt"
        if not path.is_file():
            return False
        state = torch.load(path, weights_only=True)
        saved = state.get("optimisers", ())
        if len(saved) != len(self.optimisers):
            raise OptionError(
                got=f"a run with the optimiser {self.schedule.optimiser} to go on from {path}",
                allowed="the optimiser with which that run began",
                todo="name that one, or begin in another folder",
            )
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimiser, values in zip(self.optimisers, saved, strict=True):
            optimiser.load_state_dict(values)
        self.step, self.seconds = state["step"], state["seconds"]
        self.take_state(state)
        return True

    def more_state(self) -> dict[str, Any]:
        """What else must be saved to go on; plain values."""
        return {}

    def take_state(self, state: dict[str, Any]) -> None:
        """Take what `more_state` gave back out of a saved state."""

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def _optimisers(
    model: nn.Module, learning: Sequence[nn.Parameter], plan: RunPlan
) -> tuple[Optimizer, ...]:
    """AdamW for what learns, and in front of it Muon for matrices where the plan says so.

    Raises:
        OptionError: there is no such optimiser.
    """
    if plan.optimiser not in OPTIMISERS:
        raise OptionError(
            got=f"optimiser {plan.optimiser!r}",
            allowed=", ".join(OPTIMISERS),
            todo="choose one of these names",
        )
    matrices = matrices_of(model) if plan.optimiser == "muon" else set()
    first = [p for p in learning if p in matrices]
    rest = [p for p in learning if p not in matrices]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": plan.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.98), fused=True)
    if not first:
        return (adamw,)
    return Muon(first, plan.learning_rate, weight_decay=plan.weight_decay), adamw


@torch.no_grad()
def _move_average(
    decay: float, averages: list[Tensor], currents: list[Tensor], steps: Tensor | int
) -> None:
    decay = min(decay, (1 + int(steps)) / (10 + int(steps)))
    torch._foreach_lerp_(averages, currents, 1.0 - decay)

"""MONAI's SupervisedTrainer around interactive batches, and what listens to it.

One iteration of the engine is one interactive batch. The engine counts epochs and iterations,
calls the handlers, and carries validation figures in ``engine.state.metrics``, where MONAI's
TensorBoard and MLflow handlers look for them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from ignite.engine import Engine, Events
from monai.engines.trainer import SupervisedTrainer
from monai.handlers.mlflow_handler import MLFlowHandler
from monai.handlers.tensorboard_handlers import TensorBoardStatsHandler

from lib.training.feed import Feed
from lib.training.learner import Learner
from lib.training.loop import BatchResult
from lib.training.parallel import mean_of
from lib.training.settings import TrainSettings


class Handler(Protocol):
    """Listens to an engine."""

    def attach(self, engine: Engine) -> None:
        """Register for the engine's events."""


@dataclass
class Clock:
    """Seconds of training over all sittings of a run, and the share of it that has passed.

    Attributes:
        limit: seconds after which the run ends.
        iterations: after which it ends.
        before: seconds of earlier sittings.
    """

    limit: float
    iterations: int
    before: float = 0.0

    def __post_init__(self) -> None:
        """Start."""
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """So far."""
        return self.before + time.monotonic() - self._started

    def progress(self, iterations: int) -> float:
        """Share of the run that has passed, by time or by iterations, whichever is more."""
        return min(1.0, max(self.seconds / self.limit, iterations / self.iterations))

    def left(self, iterations: int) -> float:
        """Seconds that the run will still take, judged by its pace so far."""
        done = self.progress(iterations)
        most = max(0.0, self.limit - self.seconds)
        return min(most, self.seconds * (1 - done) / done) if done > 0 else most


def make_engine(
    learner: Learner,
    feed: Feed,
    clock: Clock,
    epochs: int,
    epoch_steps: int,
    handlers: Sequence[Handler],
) -> SupervisedTrainer:
    """An engine whose iteration is an interactive batch.

    Args:
        learner: changes the weights.
        feed: makes the batches.
        clock: decides the learning rate, and ends the run in time.
        epochs: at most.
        epoch_steps: batches in each of them.
        handlers: called at the events they register for, in this order.
    """

    def iteration(engine: Engine, _: int) -> dict[str, Any]:
        # Not the loader's number, which begins at 0 when a run is taken up within an epoch.
        epoch, step = engine.state.epoch, (engine.state.iteration - 1) % epoch_steps
        batch = feed.batch(epoch, step)
        # One number for all processes: it decides the learning rate, and their weights must agree.
        progress = mean_of(clock.progress(engine.state.iteration - 1), device)
        result = learner.learn(batch, lambda: feed.rng(epoch, step), progress)
        return {"loss": sum(result.losses) / len(result.losses), "result": result}

    device = learner.network.model.pixel_mean.device
    engine = SupervisedTrainer(
        device=device,
        max_epochs=epochs,
        # Batches depend on their number only; see `Feed`.
        train_data_loader=_Steps(epoch_steps),
        network=learner.network.model,
        optimizer=learner.optimiser,
        loss_function=_unused,
        epoch_length=epoch_steps,
        iteration_update=iteration,
        decollate=False,
        train_handlers=[*handlers, _TimeLimit(clock, device)],
    )
    return engine


def result_of(engine: Engine) -> BatchResult:
    """What the last iteration gave."""
    output: Any = engine.state.output
    result = output["result"]
    assert isinstance(result, BatchResult)
    return result


def go_on_from(engine: Engine, iteration: int, epochs: int, epoch_steps: int) -> None:
    """Let an engine that has not run yet go on after so many iterations."""
    engine.load_state_dict(
        {"iteration": iteration, "max_epochs": epochs, "epoch_length": epoch_steps}
    )


def tracking_handlers(folder: Path, settings: TrainSettings, experiment: str) -> list[Handler]:
    """TensorBoard's events in a folder, and MLflow where it was asked for.

    Args:
        folder: of the run.
        settings: name of the run, MLflow or not, and where.
        experiment: MLflow's name for runs of one kind.
    """
    handlers: list[Handler] = [
        TensorBoardStatsHandler(
            log_dir=str(folder / "events"), tag_name="train_loss", output_transform=_loss
        )
    ]
    if settings.tracking == "mlflow":
        handlers.append(
            MLFlowHandler(
                tracking_uri=settings.tracking_uri or f"sqlite:///{folder / 'mlflow.db'}",
                experiment_name=experiment,
                run_name=settings.name,
                iteration_log=True,
                output_transform=_loss,
                close_on_complete=True,
            )
        )
    return handlers


class _Steps(Sequence[int]):
    """The numbers of the batches of an epoch; begins anew whenever it is read."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return range(self._count)[index]


class _TimeLimit:
    def __init__(self, clock: Clock, device: torch.device) -> None:
        self._clock, self._device = clock, device

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._end)

    def _end(self, engine: Engine) -> None:
        # Together: a process that went on alone would wait for the others for ever.
        if mean_of(self._clock.seconds, self._device) >= self._clock.limit:
            engine.terminate()


def _loss(output: dict[str, Any]) -> float:
    return float(output["loss"])


def _unused(*_: object) -> None:
    """The engine asks for a loss function; the learner has its own."""

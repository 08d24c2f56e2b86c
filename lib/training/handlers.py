"""What happens around the batches of a run: figures, the best result, the saved state.

All handlers belong to one `Watch`, which holds what a run has found out so far.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from lib.training.engine import Clock, result_of
from lib.training.learner import Learner
from lib.training.progress import EpochRecord, Observer, RunStats
from lib.training.run_state import RunState

LOG_SECONDS = 10.0
"""Between two lines about batches in the log."""
SAVING_SHARE = 0.05
"""Of its time a run spends at most on saving its state within epochs."""

Measure = Callable[[], tuple[Mapping[str, float], float]]
"""Validates the model as it is: mean Dice by prompt, mean clicks to 0.9."""


@dataclass
class Watch:
    """What a run has found out.

    Attributes:
        learner: that learns.
        clock: of the run.
        measure: validates; None in processes that leave this to another.
        save: writes a state.
        observer: gets lines and figures.
        stats: shown last.
        fingerprint, data: for saved states.
        images: of a batch, of all processes.
        history: one record for each validation.
        best: result with the highest score so far; the start until something was learned.
        best_epoch: when that was.
    """

    learner: Learner
    clock: Clock
    measure: Measure | None
    save: Callable[[RunState], None]
    observer: Observer
    stats: RunStats
    fingerprint: str
    data: str
    images: int
    history: list[EpochRecord] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0

    def attach(self, engine: Engine) -> None:
        """Register for the engine's events."""
        self._losses: list[float] = []
        self._seen = 0
        self._since = self._logged = self._saved = time.monotonic()
        self._saving = 0.0
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._after_batch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._after_epoch)

    def record(self, epoch: int, loss: float | None = None) -> EpochRecord:
        """Validate the learner's result and keep it where it is the best one."""
        assert self.measure is not None
        with using(self.learner):
            dice, clicks = self.measure()
        record = EpochRecord(epoch, self.clock.seconds, loss, dice, clicks, self._rate(epoch))
        # What served before is no candidate: the gate compares it with the best that was learned.
        learned = [r.score for r in self.history if r.epoch > 0]
        if not learned or record.score > max(learned):
            self.best, self.best_epoch = self.learner.result(), epoch
        self.history.append(record)
        self.observer.say(record.line())
        return record

    def state(self, iteration: int) -> RunState:
        """To be saved."""
        return RunState(
            fingerprint=self.fingerprint,
            iteration=iteration,
            seconds=self.clock.seconds,
            learner=self.learner.state(),
            data=self.data,
            best=self.best,
            best_epoch=self.best_epoch,
            history=[asdict(record) for record in self.history],
        )

    def show(self, iteration: int, **changes: object) -> None:
        """Tell the observer where the run is."""
        self.stats = replace(
            self.stats,
            seconds=self.clock.seconds,
            left=self.clock.left(iteration),
            history=tuple(self.history),
            best_epoch=self.best_epoch,
            **changes,  # type: ignore[arg-type]  # fields of RunStats
        )
        self.observer.show(self.stats)

    def _after_batch(self, engine: Engine) -> None:
        result = result_of(engine)
        self._losses.append(sum(result.losses) / len(result.losses))
        self._seen += 1
        now = time.monotonic()
        iteration, epoch = engine.state.iteration, engine.state.epoch
        if self.measure is None:
            return
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            steps = "/".join(f"{dice:.2f}" for dice in result.dices)
            left = self.clock.left(iteration)
            rate = self._rate(epoch) or 0.0
            self.observer.say(
                f"epoch {epoch}, batch {iteration}: loss {self._losses[-1]:.4f}, Dice by step "
                f"{steps}, {rate:.1f} images/s, about {left:.0f} s left"
            )
            self.show(iteration, loss=self._losses[-1], rate=rate)
        # Going on from the last batch of an epoch would leave out the epoch's figures.
        epoch_ends = iteration % (engine.state.epoch_length or 1) == 0
        if not epoch_ends and self._saving <= SAVING_SHARE * (now - self._saved):
            self._save(iteration)

    def _after_epoch(self, engine: Engine) -> None:
        loss = sum(self._losses) / max(1, len(self._losses))
        if self.measure is not None:
            record = self.record(engine.state.epoch, loss)
            engine.state.metrics.update(
                {f"val_dice_{name}": value for name, value in record.dice.items()},
                val_mean_dice=record.score,
                val_clicks_to_90=record.clicks_to_90,
                images_per_second=record.rate,
            )
            self.show(engine.state.iteration, epoch=engine.state.epoch, loss=loss, rate=record.rate)
            self._save(engine.state.iteration)
        self._losses.clear()
        self._seen, self._since = 0, time.monotonic()

    def _save(self, iteration: int) -> None:
        begun = time.monotonic()
        self.save(self.state(iteration))
        self._saved = time.monotonic()
        self._saving = self._saved - begun

    def _rate(self, epoch: int) -> float | None:
        if not epoch or not self._seen:
            return None
        return self.images * self._seen / max(time.monotonic() - self._since, 1e-9)


@contextmanager
def using(learner: Learner) -> Iterator[None]:
    """Put a learner's result into its model for a while."""
    present = {name: p.detach().clone() for name, p in learner.parameters.items()}
    put(learner, learner.result())
    try:
        yield
    finally:
        put(learner, present)


@torch.no_grad()
def put(learner: Learner, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors by name into a learner's model."""
    for name, tensor in tensors.items():
        learner.parameters[name].copy_(tensor)

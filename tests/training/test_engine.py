"""MONAI's engine around batches: counting, ending in time, going on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from ignite.engine import Engine, Events

from lib.training.engine import Clock, go_on_from, make_engine, result_of
from lib.training.loop import BatchResult
from tests.support.small_sam import small_sam


class Learned:
    """Takes the place of a learner and notes what it was given."""

    def __init__(self) -> None:
        self.network = type("Network", (), {"model": small_sam()})()
        self.optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        self.batches: list[tuple[int, int]] = []
        self.progress: list[float] = []

    def learn(self, batch: tuple[int, int], rng: object, progress: float) -> BatchResult:
        self.batches.append(batch)
        self.progress.append(progress)
        return BatchResult((1.0, 3.0), (0.5, 0.7))


class Feed:
    def batch(self, epoch: int, step: int) -> tuple[int, int]:
        return epoch, step

    def rng(self, epoch: int, step: int) -> np.random.Generator:
        return np.random.default_rng(0)


@dataclass
class Ears:
    heard: list[str] = field(default_factory=list)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.batch)

    def epoch(self, engine: Engine) -> None:
        self.heard.append(f"epoch {engine.state.epoch}")

    def batch(self, engine: Engine) -> None:
        assert result_of(engine).dices == (0.5, 0.7)
        assert engine.state.output["loss"] == 2.0  # type: ignore[index, call-overload]


def run(done: int = 0, limit: float = 1000.0) -> tuple[Learned, Ears]:
    learner, ears = Learned(), Ears()
    engine = make_engine(learner, Feed(), Clock(limit, 6), 3, 2, [ears])  # type: ignore[arg-type]
    go_on_from(engine, done, 3, 2)
    engine.run()
    return learner, ears


def test_every_batch_of_every_epoch_once() -> None:
    learner, ears = run()
    assert learner.batches == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]
    assert ears.heard == ["epoch 1", "epoch 2", "epoch 3"]
    assert np.allclose(learner.progress, np.arange(6) / 6, atol=0.02)


def test_it_goes_on_between_epochs_and_within_one() -> None:
    assert run(done=2)[0].batches == [(2, 0), (2, 1), (3, 0), (3, 1)]
    learner, ears = run(done=3)
    assert learner.batches == [(2, 1), (3, 0), (3, 1)]
    assert ears.heard == ["epoch 2", "epoch 3"]


def test_it_ends_in_time() -> None:
    learner, _ = run(limit=1e-9)
    assert learner.batches == [(1, 0)] and learner.progress == [1.0]


def test_the_clock_knows_earlier_sittings_and_what_is_left() -> None:
    clock = Clock(100.0, 10, before=50.0)
    assert 50.0 <= clock.seconds < 60.0
    assert 0.5 <= clock.progress(1) < 0.6 and clock.progress(8) == 0.8
    assert 10.0 < clock.left(8) < 16.0
    assert Clock(100.0, 10).left(0) <= 100.0
    started = Clock(0.01, 10)
    time.sleep(0.02)
    assert started.progress(0) == 1.0

"""What a training run says of itself on the screen and in ``log.jsonl``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from lib.training.loop import BatchResult
from lib.training.timed_run import TimedRun

Run = TypeVar("Run", bound=TimedRun[Any, Any, Any])

PRINT_SECONDS = 20


class Reporter(Generic[Run]):
    """Prints progress every few seconds, measures and saves every few minutes.

    Args:
        out: folder of the log.
        save_every: seconds.
        measure: name of a figure -> values, of the moving average as it is now.
        unit: of what a batch consists.
    """

    def __init__(
        self,
        out: Path,
        save_every: float,
        measure: Callable[[Run], dict[str, Sequence[float]]],
        unit: str = "images",
    ) -> None:
        self.out, self.save_every, self.measure, self.unit = out, save_every, measure, unit
        self.recent: list[BatchResult] = []
        self.printed = self.saved = time.monotonic()

    def __call__(self, run: Run, result: BatchResult) -> None:
        """Take note of one step."""
        self.recent.append(result)
        now = time.monotonic()
        if now - self.printed > PRINT_SECONDS:
            self.print_progress(run)
            self.printed = now
        if now - self.saved > self.save_every:
            self.save(run)
            self.saved = time.monotonic()

    def print_progress(self, run: Run) -> None:
        """One line: how far, how fast, how good on the training stream."""
        losses = np.mean([r.losses for r in self.recent], axis=0)
        dices = np.mean([r.dices for r in self.recent], axis=0)
        rate = run.step * run.schedule.batch_size * run.place.world / max(run.seconds, 1e-9)
        print(
            f"step {run.step}  {run.seconds / 60:.1f} min, {100 * run.passed:.0f} %  "
            f"{rate:.1f} {self.unit}/s  lr {run.learning_rate():.1e}  "
            f"loss {'/'.join(f'{v:.3f}' for v in losses)}  "
            f"dice {'/'.join(f'{v:.3f}' for v in dices)}",
            flush=True,
        )
        self.recent.clear()

    def save(self, run: Run) -> None:
        """Save weights and state, measure the moving average, write a line to the log."""
        run.save()
        line = {"step": run.step, "minutes": round(run.seconds / 60, 2), **self.measure(run)}
        with (self.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        print(f"saved; validation {json.dumps(line)}", flush=True)

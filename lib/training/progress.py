"""What people see of a run while it runs: one record, as a line of a log and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

KEY_METRIC = "val_mean_dice"
"""What clients call the figure that decides: mean Dice over the kinds of prompts."""


@dataclass(frozen=True)
class EpochRecord:
    """Figures at the end of an epoch; epoch 0 is the model as it serves now.

    Attributes:
        epoch: 0, 1, ...
        seconds: of training until then.
        loss: mean of the epoch's batches; None for epoch 0.
        dice: on the validation split, by prompt: "box", "1", "3", "5".
        clicks_to_90: mean number of clicks to Dice 0.9; 6 where five did not suffice.
        rate: images a second; None for epoch 0.
    """

    epoch: int
    seconds: float
    loss: float | None
    dice: Mapping[str, float]
    clicks_to_90: float
    rate: float | None

    @property
    def score(self) -> float:
        """Mean Dice over the kinds of prompts: what the best epoch is chosen by."""
        return sum(self.dice.values()) / len(self.dice) if self.dice else 0.0

    def line(self) -> str:
        """For a log."""
        dice = "  ".join(f"{name} {value:.3f}" for name, value in self.dice.items())
        what = "serving model" if self.loss is None else f"epoch {self.epoch}, loss {self.loss:.4f}"
        return f"{what}: Dice {dice}  clicks to 0.9: {self.clicks_to_90:.2f}"


@dataclass(frozen=True)
class RunStats:
    """Where a run is.

    Attributes:
        name: of the run.
        part: what learns.
        phase: "encoding", "training", "judging", "done".
        epoch, total_epochs: finished and in all.
        seconds: of training.
        left: seconds that training will still take, or None.
        rate: images a second.
        loss: of the last batches.
        history: one record for each epoch.
        best_epoch: with the highest score.
        version: that serves at the end, or None.
        verdict: of the gate, a sentence.
        started: seconds since 1970.
    """

    name: str
    part: str
    phase: str
    epoch: int
    total_epochs: int
    seconds: float
    started: float
    left: float | None = None
    rate: float | None = None
    loss: float | None = None
    history: tuple[EpochRecord, ...] = field(default=())
    best_epoch: int = 0
    version: str | None = None
    verdict: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For ``/info``; with the keys that 3D Slicer looks for."""
        best = max((record.score for record in self.history), default=0.0)
        last = self.history[-1] if self.history else None
        time = "total_time" if self.phase == "done" else "current_time"
        return {
            "name": self.name,
            "train_part": self.part,
            "phase": self.phase,
            "epoch": self.epoch,
            "total_epochs": self.total_epochs,
            "best_metric": round(best, 4),
            "best_metric_epoch": self.best_epoch,
            "start_ts": int(self.started),
            time: _clock(self.seconds),
            "seconds_left": None if self.left is None else round(self.left, 1),
            "images_per_second": None if self.rate is None else round(self.rate, 2),
            "train": {"metrics": {} if self.loss is None else {"loss": round(self.loss, 5)}},
            "eval": {
                "key_metric_name": KEY_METRIC,
                "best_metric": round(best, 4),
                "metrics": {} if last is None else _rounded(last.dice),
            },
            "history": [asdict(record) for record in self.history],
            "model_version": self.version,
            "verdict": self.verdict,
        }


class Observer(Protocol):
    """Whoever wants to know how a run goes."""

    def say(self, sentence: str) -> None:
        """A line for the log."""

    def show(self, stats: RunStats) -> None:
        """Where the run is now."""


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}

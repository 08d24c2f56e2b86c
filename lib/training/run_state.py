"""The state of a run on disk: complete, or the one before it.

One file, ``state.pt``, replaced as a whole after it has reached the disk. It holds tensors and
plain values only and is read by torch's ``weights_only`` reader.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib.errors import TrainingError
from lib.training.learner import LearnerState

FILE = "state.pt"


@dataclass(frozen=True)
class RunState:
    """Where a run is.

    Attributes:
        fingerprint: of everything that must be the same to go on: network, serving version, what
            learns, recipe.
        iteration: batches so far.
        seconds: of training so far, over all sittings.
        learner: its state.
        data: digest of the labelled slices; best and history are worth nothing with others.
        best: the result with the best validation so far; empty before the first validation.
        best_epoch: when that was.
        history: one record for each validation, see `lib.training.run`.
    """

    fingerprint: str
    iteration: int
    seconds: float
    learner: LearnerState
    data: str
    best: dict[str, Tensor]
    best_epoch: int
    history: list[dict[str, Any]]


def save_state(folder: Path, state: RunState) -> None:
    """Replace the saved state.

    Raises:
        TrainingError: the disk does not take it; the state before it is intact.
    """
    part = folder / f"{FILE}.part"
    content = {
        "facts": json.dumps(
            {
                "fingerprint": state.fingerprint,
                "iteration": state.iteration,
                "seconds": state.seconds,
                "data": state.data,
                "best_epoch": state.best_epoch,
                "history": state.history,
            }
        ),
        "learner": asdict_shallow(state.learner),
        "best": state.best,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / FILE)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise TrainingError(
            got=f"a state that could not be written to {folder} ({error})",
            allowed="a disk with room for it",
            todo="make room and start the training again: it goes on from the state before",
        ) from error


def load_state(folder: Path) -> RunState | None:
    """The saved state of a run; None where there is none that can be read."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        facts = json.loads(content["facts"])
        learner = LearnerState(**content["learner"])
        return RunState(learner=learner, best=content["best"], **facts)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError):
        return None


def asdict_shallow(learner: LearnerState) -> dict[str, Any]:
    """A learner's state by name; `dataclasses.asdict` would copy all tensors."""
    return {name: getattr(learner, name) for name in LearnerState.__dataclass_fields__}

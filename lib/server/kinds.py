"""What answers for a model, and what trains it: one table for all families of networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lib.errors import OptionError
from lib.server.cube_infer import CubeInferTask
from lib.server.infer import Samed2dInferTask
from lib.server.models import ModelSpec, ServedSpec
from lib.server.served_model import ServedCubes, ServedModel, ServedNetwork
from lib.server.task import ModelTask
from lib.server.train_task import CubeTrainTask, ModelTrainTask, Samed2dTrainTask
from lib.server.volume_infer import Samed2dVolumeTask


@dataclass(frozen=True)
class Kind:
    """The tasks of a model, and what holds its network.

    Attributes:
        network: of the family.
        infer: makes the task that answers.
        train: makes the task that trains it; None where another model's training does.
        chooses: whether it can choose what to label next and make first labels.
    """

    network: type[ServedNetwork[Any]]
    infer: Callable[..., ModelTask]
    train: type[ModelTrainTask] | None = None
    chooses: bool = False


KINDS = {
    "click": Kind(ServedModel, Samed2dInferTask, Samed2dTrainTask, chooses=True),
    "volume": Kind(ServedModel, Samed2dVolumeTask),
    "cubes": Kind(ServedCubes, CubeInferTask, CubeTrainTask),
}
"""By the ``kind`` in a model's file."""


def kind_of(spec: ModelSpec) -> Kind:
    """The kind of a model.

    Raises:
        OptionError: its file names one that does not exist.
    """
    if spec.kind not in KINDS:
        raise OptionError(
            got=f"model {spec.name!r} of kind {spec.kind!r}", allowed=", ".join(KINDS)
        )
    return KINDS[spec.kind]


def chooser(served: Sequence[ServedSpec]) -> str:
    """The model that chooses what to label next: the first one that can.

    Raises:
        OptionError: none of them can.
    """
    for model in served:
        if kind_of(model.spec).chooses:
            return model.spec.name
    raise OptionError(
        got="models " + ",".join(model.spec.name for model in served),
        allowed="at least one of kind " + ", ".join(k for k, v in KINDS.items() if v.chooses),
        todo="add samed2d, which chooses what to label next",
    )

"""MONAI Label's TrainTask: the labels saved so far -> a version that serves, if it is not worse.

The host runs it in a process of its own (``POST /train/{model}``), shows the last lines of its log,
and ends it with SIGKILL; with ``run_sync`` it runs in the server. Everything a run must not lose is
on disk (`lib.training.run_state`), and the serving model is exchanged by the registry alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from lib.errors import TrainingError
from lib.imaging.volume import ReadLimits
from lib.options import AppOptions, default_cache_dir
from lib.server.labelled import read_labelled
from lib.server.models import ModelSpec, NetworkChoice
from lib.server.running import running_server
from lib.training.launch import launch
from lib.training.observers import read_stats
from lib.training.registry import Registry, registry_folder
from lib.training.run import TrainJob
from lib.training.settings import DEVICES, TrainSettings

NICENESS = 15
"""Of a training process: whoever clicks gets the processor first."""
STATS_FILE = "train_stats.json"

logger = logging.getLogger(__name__)


class Samed2dTrainTask(TrainTask):  # type: ignore[misc]  # the host has no types
    """Trains the network of a model on the labels of the datastore.

    Args:
        spec: name of the model.
        options: device, caches, registry.
        choice: network and base weights.
    """

    def __init__(self, spec: ModelSpec, options: AppOptions, choice: NetworkChoice) -> None:
        super().__init__(f"Train {choice.architecture} by simulated clicks on the saved labels")
        self.name, self._options, self._choice = spec.name, options, choice
        self._limits = ReadLimits(max_voxels=options.max_voxels)
        self._registry = registry_folder(options)
        # One object for all questions: it reads the whole weight file for its hash, once.
        self._versions = (
            None
            if choice.weights is None
            else Registry(self._registry, choice.architecture, choice.weights)
        )

    def config(self) -> dict[str, Any]:
        """What clients show as a form and send back."""
        device = self._options.device
        devices = [device, *(name for name in DEVICES if name != device)]
        return {**TrainSettings.config(), "device": devices}

    def stats(self) -> dict[str, Any]:
        """Figures of the present run, or of the last one."""
        return read_stats(self._stats_path())

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Carry out a run.

        Args:
            request: what the client sent, see `TrainSettings`, and what the host added.
            datastore: of images and labels.

        Returns:
            The last figures of the run.

        Raises:
            OptionError: an unknown setting, or a value that is not allowed.
            ImageError: no label to learn from.
            TrainingError: the run could not go on.
        """
        settings = TrainSettings.parse(request)
        weights = self._choice.weights
        if weights is None:
            raise TrainingError(
                got=f"{self._choice.architecture} without trained weights",
                allowed="a network with weights, which a few labels can make better",
                todo="install weights with scripts/get_weights.py",
            )
        if running_server() is None:
            os.nice(NICENESS)
        logger.info("reading the labelled images")
        data = read_labelled(datastore, self._limits, _log_reading)
        job = TrainJob(
            architecture=self._choice.architecture,
            weights=weights,
            registry=self._registry,
            data=data,
            settings=settings,
            cache=self._options.cache_dir or default_cache_dir(),
        )
        outcome = launch(job, self._stats_path(), _processes(settings))
        return self.stats() if outcome is None else outcome.stats.to_json()

    def _stats_path(self) -> Path:
        folder = self._registry if self._versions is None else self._versions.folder
        return folder / STATS_FILE


def _processes(settings: TrainSettings) -> int:
    """One for each CUDA device, where they are to be used."""
    if not settings.multi_gpu or settings.device == "cpu":
        return 1
    return max(1, min(torch.cuda.device_count(), settings.train_batch_size))


def _log_reading(done: int, total: int) -> None:
    if done == total or done % 10 == 0:
        logger.info("%d of %d labelled images read", done, total)

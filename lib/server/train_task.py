"""MONAI Label's TrainTask: the labels saved so far -> a version that serves, if it is not worse.

The host runs it in a process of its own (``POST /train/{model}``), shows the last lines of its log,
and ends it with SIGKILL; with ``run_sync`` it runs in the server. Everything a run must not lose is
on disk (`lib.training.run_state`), and the serving model is exchanged by the registry alone.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from lib.data.labelled_volumes import VolumeCollector
from lib.errors import OptionError, TrainingError
from lib.imaging.volume import ReadLimits
from lib.options import AppOptions, default_cache_dir
from lib.server.labelled import read_labelled
from lib.server.models import ModelSpec, NetworkChoice
from lib.server.running import running_server
from lib.training.launch import launch
from lib.training.observers import LogObserver, read_stats
from lib.training.registry import Registry, registry_folder
from lib.training.run import TrainJob
from lib.training.run3d import VolumeJob, train_volumes
from lib.training.settings import DEVICES, TrainSettings

NICENESS = 15
"""Of a training process: whoever clicks gets the processor first."""
STATS_FILE = "train_stats.json"

logger = logging.getLogger(__name__)


class ModelTrainTask(TrainTask, ABC):  # type: ignore[misc]  # the host has no types
    """Trains the network of a model on the labels of the datastore.

    What kind of network it is, only `carry_out` knows.

    Args:
        spec: name of the model.
        options: device, caches, registry.
        choice: network and base weights.
    """

    unused: frozenset[str] = frozenset()
    """Settings that mean nothing for this kind of network."""

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

    @abstractmethod
    def carry_out(
        self, settings: TrainSettings, weights: Path, datastore: Datastore
    ) -> dict[str, Any]:
        """Read the labels and train.

        Args:
            settings: of the client.
            weights: base weight file.
            datastore: of images and labels.

        Returns:
            The last figures of the run.
        """

    def config(self) -> dict[str, Any]:
        """What clients show as a form and send back."""
        device = self._options.device
        devices = [device, *(name for name in DEVICES if name != device)]
        shown = {**TrainSettings.config(), "device": devices}
        return {name: value for name, value in shown.items() if name not in self.unused}

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
        if meaningless := sorted(self.unused & set(request)):
            raise OptionError(
                got=f"training option {', '.join(meaningless)} for {self._choice.architecture}",
                allowed=", ".join(self.config()),
                todo="leave it out",
            )
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
        return self.carry_out(settings, weights, datastore)

    def _stats_path(self) -> Path:
        folder = self._registry if self._versions is None else self._versions.folder
        return folder / STATS_FILE


class Samed2dTrainTask(ModelTrainTask):
    """For networks of slices: adapters, prompt encoder and decoder learn from labelled slices."""

    def carry_out(
        self, settings: TrainSettings, weights: Path, datastore: Datastore
    ) -> dict[str, Any]:
        """See `ModelTrainTask`."""
        job = TrainJob(
            architecture=self._choice.architecture,
            weights=weights,
            registry=self._registry,
            data=read_labelled(datastore, self._limits, _log_reading),
            settings=settings,
            cache=self._options.cache_dir or default_cache_dir(),
        )
        outcome = launch(job, self._stats_path(), _processes(settings))
        return self.stats() if outcome is None else outcome.stats.to_json()


class CubeTrainTask(ModelTrainTask):
    """For networks of volumes: all of the network learns, in one process."""

    unused = frozenset({"train", "adapter_init", "multi_gpu", "tracking", "tracking_uri"})

    def carry_out(
        self, settings: TrainSettings, weights: Path, datastore: Datastore
    ) -> dict[str, Any]:
        """See `ModelTrainTask`."""
        found = VolumeCollector()
        left_out = read_labelled(datastore, self._limits, _log_reading, found)
        for reason, count in left_out.counts().items():
            logger.info("%d labels left out: %s", count, reason)
        job = VolumeJob(
            architecture=self._choice.architecture,
            weights=weights,
            registry=self._registry,
            volumes=tuple(found.volumes),
            settings=settings,
        )
        return train_volumes(job, LogObserver(self._stats_path())).stats.to_json()


def _processes(settings: TrainSettings) -> int:
    """One for each CUDA device, where they are to be used."""
    if not settings.multi_gpu or settings.device == "cpu":
        return 1
    return max(1, min(torch.cuda.device_count(), settings.train_batch_size))


def _log_reading(done: int, total: int) -> None:
    if done == total or done % 10 == 0:
        logger.info("%d of %d labelled images read", done, total)

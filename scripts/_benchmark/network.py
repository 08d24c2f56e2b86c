"""The network that is measured: with its weights, or with seeded random numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from lib.networks import (
    ARCHITECTURES3D,
    AdapterSam,
    Sam3d,
    build_sam,
    build_sam3d,
    check_architecture,
    find_architecture,
    find_architecture3d,
    installed_weights,
)
from lib.networks.checkpoint import load_checkpoint, save_weights
from lib.networks.encoder_network import Encodes

Network = TypeVar("Network", AdapterSam, Sam3d)

POSITION_SPREAD = 0.02
"""Standard deviation of random position tables; untrained ones are zero and would test nothing."""


@dataclass(frozen=True)
class NetworkSource:
    """Where a network's numbers come from.

    Attributes:
        architecture: by name.
        weights: file; None for random numbers.
        seed: of these.
    """

    architecture: str
    weights: Path | None
    seed: int

    @classmethod
    def find(cls, architecture: str, checkpoint: Path | None, seed: int) -> NetworkSource:
        """The checkpoint that was named, else the installed one, else random numbers.

        Raises:
            OptionError: no such architecture.
        """
        check_architecture(architecture)
        return cls(architecture, checkpoint or installed_weights(architecture), seed)

    @property
    def description(self) -> str:
        """For people: the file, or a warning that there is none."""
        if self.weights is not None:
            return self.weights.name
        return f"RANDOM (seed {self.seed}): times are right, masks mean nothing"

    def load(self) -> AdapterSam:
        """Build the network on the CPU, in evaluation mode.

        Raises:
            OptionError: it is a network of volumes.
            CheckpointError: the weight file cannot be used with it.
        """
        return self._filled(lambda: build_sam(find_architecture(self.architecture)))

    def load_any(self) -> Encodes:
        """As `load`; the network may be one of volumes."""
        if self.architecture in ARCHITECTURES3D:
            return self._filled(lambda: build_sam3d(find_architecture3d(self.architecture)))
        return self.load()

    def _filled(self, build: Callable[[], Network]) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = build()
            if self.weights is None:
                for name, parameter in model.named_parameters():
                    if name.endswith("pos_embed") or ".rel_pos_" in name:
                        torch.nn.init.normal_(parameter, std=POSITION_SPREAD)
        if self.weights is not None:
            load_checkpoint(model, self.weights)
        return model

    def file(self, folder: Path) -> Path:
        """A weight file that a server can read; random numbers are written to ``folder``."""
        if self.weights is not None:
            return self.weights.resolve()
        path = folder / f"{self.architecture}-random-{self.seed}.safetensors"
        save_weights(self.load(), path, dtype=torch.float16, metadata={"adapters": "random"})
        return path

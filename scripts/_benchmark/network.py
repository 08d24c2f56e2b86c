"""The network that is measured: with its weights, or with seeded random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from lib.networks import AdapterSam, build_sam, find_architecture, installed_weights
from lib.networks.checkpoint import load_checkpoint, save_weights

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
        find_architecture(architecture)
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
            CheckpointError: the weight file cannot be used with it.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = build_sam(find_architecture(self.architecture))
            if self.weights is None:
                for name, parameter in model.named_parameters():
                    if name.endswith(("pos_embed", "rel_pos_h", "rel_pos_w")):
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

"""Training a network for volumes from scratch: a stream of phantoms and windows of real volumes.

Two stages, as SAM-Med3D is trained (Wang et al. 2023, arXiv:2310.15161): a general one, mostly on
phantoms, then a fine tuning with more real volumes and a smaller learning rate. Each is a run of
its own (`Pretrainer3d`). The general one may see smaller cubes, which costs an eighth; what it
learned is then carried over by `lib.networks.enlarge3d`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from lib.data.windows3d import LabelledVolume, Mixture3d, Window3d, window_stream
from lib.networks.sam3d import Sam3d
from lib.prompts.simulate import LegacyRandom
from lib.training.annotator3d import (
    Annotator3d,
    Interaction3d,
    Prompter3d,
    PublishedAnnotator3d,
)
from lib.training.loop import BatchResult
from lib.training.loop3d import Batch3d, interact3d
from lib.training.processes import Place
from lib.training.timed_run import RunPlan, TimedRun


@dataclass(frozen=True)
class Pretrain3dPlan(RunPlan):
    """Everything that decides a run, beside what `RunPlan` says.

    Attributes:
        recipe: "default", or "paper" for SAM-Med3D's own interaction.
        interaction: how our annotator behaves.
        mixture: what is learned from.
    """

    batch_size: int = 2
    learning_rate: float = 1e-3
    ema: float = 0.995
    recipe: Literal["default", "paper"] = "default"
    interaction: Interaction3d = field(default_factory=Interaction3d)
    mixture: Mixture3d = field(default_factory=Mixture3d)


class _Stream3d(IterableDataset[Window3d]):
    """`window_stream` in a loader's only worker."""

    def __init__(
        self,
        volumes: Sequence[LabelledVolume],
        mixture: Mixture3d,
        size: int,
        seeds: tuple[int, ...],
    ) -> None:
        self.arguments, self.seeds = (volumes, mixture, size), seeds

    def __iter__(self) -> Iterator[Window3d]:
        volumes, mixture, size = self.arguments
        return window_stream(volumes, mixture, size, np.random.default_rng([*self.seeds, 0]))


def collate3d(windows: Sequence[Window3d]) -> Batch3d:
    """Put cubes side by side and list their objects."""
    counts = torch.tensor([len(window.masks) for window in windows])
    return Batch3d(
        volumes=torch.from_numpy(np.stack([window.volume for window in windows]))[:, None],
        targets=np.concatenate([window.masks for window in windows]),
        volume_of=torch.repeat_interleave(torch.arange(len(windows)), counts),
    )


class Pretrainer3d(TimedRun[Sam3d, Batch3d, Mixture3d]):
    """Learns from phantoms and labelled volumes.

    Args:
        model: to train; equal in all processes.
        volumes: labelled ones; phantoms alone where there are none.
        plan: of the run.
        out: folder of the results; the leading process writes them.
        place: of this process among those that learn together, see `lib.training.processes`.
    """

    def __init__(
        self,
        model: Sam3d,
        volumes: Sequence[LabelledVolume],
        plan: Pretrain3dPlan,
        out: Path,
        place: Place | None = None,
    ) -> None:
        super().__init__(model, list(model.parameters()), plan, out, place)
        self.plan, self.volumes = plan, volumes

    def phases(self) -> tuple[tuple[Mixture3d, float], ...]:
        """One."""
        return ((self.plan.mixture, 1.0),)

    def batches(self, phase: Mixture3d, seeds: tuple[int, ...]) -> Iterator[Batch3d]:
        """Batches of the stream."""
        yield from DataLoader(
            _Stream3d(self.volumes, phase, self.model.config.image_size, seeds),
            batch_size=self.plan.batch_size,
            collate_fn=collate3d,
            num_workers=1,
            prefetch_factor=4,
        )

    def learn(self, item: Batch3d, rng: np.random.Generator) -> BatchResult:
        """One interactive batch."""
        self.begin_step()
        dtype = torch.bfloat16 if self.plan.bf16 else None
        result = interact3d(self.model, item, self._prompter(item, rng), autocast=dtype)
        self.update(result)
        return result

    def _prompter(self, batch: Batch3d, rng: np.random.Generator) -> Prompter3d:
        config = self.model.config
        where = (batch.coarse(), config.image_size, config.low_res_size)
        if self.plan.recipe == "paper":
            return PublishedAnnotator3d(*where, LegacyRandom(int(rng.integers(1 << 32))))
        return Annotator3d(*where, self.plan.interaction, rng)

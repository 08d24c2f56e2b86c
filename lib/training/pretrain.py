"""Training a network from scratch on a stream of phantoms and real images.

A run is bounded by time or by steps and can be interrupted: it saves everything it needs beside
the weights and goes on from there. What is written as the result is the moving average of the
weights, which is better than the last step's in short runs.

Several processes may learn together, each from a stream of its own: gradients are averaged once a
step. On a CPU that others use too, processes of one thread each are faster than one of several
threads, which all wait at each operation for the one that was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from lib.data.pool import LabelledImage
from lib.data.shards.stream import Position, Source
from lib.data.stream import Mixture, Sample, sample_stream
from lib.data.streamed import StreamedImages
from lib.errors import OptionError
from lib.networks.detail_decoder import DetailMaskDecoder
from lib.networks.sam import AdapterSam
from lib.training.annotator import InteractionPlan
from lib.training.loop import Batch, BatchResult, interactive_batch
from lib.training.losses import LossWeights
from lib.training.objective import RowObjective
from lib.training.parallel import sum_of
from lib.training.processes import Place
from lib.training.timed_run import RunPlan, TimedRun

OBJECTIVE = RowObjective(LossWeights(iou=5.0), single_share=0.5)
INTERACTION = InteractionPlan(
    corrections=2,
    box_share=0.45,
    both_share=0.05,
    interior_share=0.6,
    single_share=0.0,
    box_sigma=0.025,
)


@dataclass(frozen=True)
class PretrainPlan(RunPlan):
    """Everything that decides a pretraining run, beside what `RunPlan` says.

    Attributes:
        objective: the loss. The IoU counts more than SAM-Med2D's 1: after 40 minutes with 1 the
            best of the three masks had Dice 0.76 on the sample study, the chosen one 0.63. The
            single mask learns from every step, whichever mask is best.
        interaction: see `InteractionPlan`.
        mixture: what is learned from.
        finish: what is learned from in the last ``finish_share`` of the run; None: the same. What
            is learned last stays best.
        finish_share: 0..1.
        learns: "all" of the network, or only its "rating" of masks: the rest stays as it is, so
            that a step costs a fraction, and masks are not traded for a better choice among them.
    """

    objective: RowObjective = OBJECTIVE
    interaction: InteractionPlan = INTERACTION
    mixture: Mixture = field(default_factory=Mixture)
    finish: Mixture | None = None
    finish_share: float = 0.35
    learns: Literal["all", "rating"] = "all"

    def phases(self) -> tuple[tuple[Mixture, float], ...]:
        """Mixtures with the share of the run at which each ends."""
        if self.finish is None:
            return ((self.mixture, 1.0),)
        return (self.mixture, 1.0 - self.finish_share), (self.finish, 1.0)


class _Stream(IterableDataset[tuple[Sample, Position]]):
    """`sample_stream` in a loader's only worker, with the position in the data set after each."""

    def __init__(
        self,
        images: Sequence[LabelledImage],
        data_set: Source | None,
        mixture: Mixture,
        seeds: tuple[int, ...],
        start: Position,
        place: Place,
    ) -> None:
        self.images, self.data_set, self.mixture, self.seeds = images, data_set, mixture, seeds
        self.start, self.place = start, place

    def __iter__(self) -> Iterator[tuple[Sample, Position]]:
        # The last number is the loader's worker.
        rng = np.random.default_rng([*self.seeds, 0])
        streamed = None
        if self.data_set is not None:
            rank, world = self.place.rank, self.place.world
            streamed = StreamedImages(self.data_set, self.seeds[0], self.start, rank, world)
        for sample in sample_stream(self.images, self.mixture, rng, streamed):
            yield sample, streamed.position if streamed else self.start


def collate(samples: Sequence[Sample]) -> Batch:
    """Put images side by side and list their objects."""
    images = torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2).float()
    counts = torch.tensor([len(s.masks) for s in samples])
    return Batch(
        images=images,
        targets=np.concatenate([s.masks for s in samples]),
        image_of=torch.repeat_interleave(torch.arange(len(samples)), counts),
    )


def collate_placed(samples: Sequence[tuple[Sample, Position]]) -> tuple[Batch, Position]:
    """A batch, and the position after its last image."""
    return collate([sample for sample, _ in samples]), samples[-1][1]


def _learning(model: AdapterSam, what: Literal["all", "rating"]) -> list[nn.Parameter]:
    """The parameters that learn; the others are fixed."""
    model.requires_grad_(True)
    if what == "rating":
        if not isinstance(model.mask_decoder, DetailMaskDecoder):
            raise OptionError(
                got=f"a rating to learn by {model.config.name}",
                allowed="a network with details, such as samed2d_t",
                todo="let all of it learn",
            )
        model.requires_grad_(False)
        for part in model.mask_decoder.rating_parts():
            part.requires_grad_()
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


class Pretrainer(TimedRun[AdapterSam, tuple[Batch, Position], Mixture]):
    """Learns from phantoms and labelled images.

    Args:
        model: to train; equal in all processes.
        images: labelled ones in memory.
        plan: of the run; rating alone can be learned by a network with details.
        out: folder of the results; the leading process writes them.
        place: of this process among those that learn together, see `lib.training.processes`.
        data_set: shards or a folder that is read as a stream. Phantoms alone where there are
            neither images nor this.

    Raises:
        OptionError: the network has no rating to learn.
    """

    def __init__(
        self,
        model: AdapterSam,
        images: Sequence[LabelledImage],
        plan: PretrainPlan,
        out: Path,
        place: Place | None = None,
        data_set: Source | None = None,
    ) -> None:
        super().__init__(model, _learning(model, plan.learns), plan, out, place)
        self.plan, self.images, self.data_set = plan, images, data_set
        self.positions = [Position()] * self.place.world

    def phases(self) -> tuple[tuple[Mixture, float], ...]:
        """See `PretrainPlan.phases`."""
        return self.plan.phases()

    def batches(self, phase: Mixture, seeds: tuple[int, ...]) -> Iterator[tuple[Batch, Position]]:
        """Batches of the stream, each with the position in the data set after it."""
        loader = DataLoader(
            _Stream(
                *(self.images, self.data_set, phase, seeds),
                *(self.positions[self.place.rank], self.place),
            ),
            batch_size=self.plan.batch_size,
            collate_fn=collate_placed,
            num_workers=1,
            prefetch_factor=4,
        )
        yield from loader

    def learn(self, item: tuple[Batch, Position], rng: np.random.Generator) -> BatchResult:
        """One interactive batch."""
        batch, position = item
        result = self._train_step(batch, rng)
        self.positions = self._all_positions(position)
        return result

    def _train_step(self, batch: Batch, rng: np.random.Generator) -> BatchResult:
        self.begin_step()
        dtype = torch.bfloat16 if self.plan.bf16 else None
        result = interactive_batch(
            self.model, batch, rng, self.plan.interaction, self.plan.objective, autocast=dtype
        )
        self.update(result)
        return result

    def _all_positions(self, position: Position) -> list[Position]:
        """Where all processes are in the data set, of which each reads its part."""
        if self.data_set is None or self.place.world == 1:
            return [position] * self.place.world
        table = torch.zeros(self.place.world, 2, dtype=torch.int64)
        table[self.place.rank] = torch.tensor([position.epoch, position.taken])
        return [Position(*row) for row in sum_of(table, self.model.pixel_mean.device).tolist()]

    def more_state(self) -> dict[str, Any]:
        """Where the data set is read on."""
        return {"positions": [[place.epoch, place.taken] for place in self.positions]}

    def take_state(self, state: dict[str, Any]) -> None:
        """Read on where all processes were, where there are as many."""
        positions = [Position(*row) for row in state.get("positions", ())]
        if len(positions) == self.place.world:
            self.positions = positions
        elif self.data_set is not None:
            # Each process reads another part now: this epoch begins again.
            epoch = max((place.epoch for place in positions), default=0)
            self.positions = [Position(epoch)] * self.place.world

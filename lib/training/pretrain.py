"""Training a network from scratch on a stream of phantoms and real images.

A run is bounded by time or by steps and can be interrupted: it saves everything it needs beside
the weights and goes on from there. What is written as the result is the moving average of the
weights, which is better than the last step's in short runs.

Several processes may learn together, each from a stream of its own: gradients are averaged once a
step. On a CPU that others use too, processes of one thread each are faster than one of several
threads, which all wait at each operation for the one that was interrupted.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, IterableDataset

from lib.data.pool import LabelledImage
from lib.data.shards.stream import Position, Source
from lib.data.stream import Mixture, Sample, sample_stream
from lib.data.streamed import StreamedImages
from lib.errors import OptionError, Samed2dError
from lib.networks.checkpoint import save_weights
from lib.networks.detail_decoder import DetailMaskDecoder
from lib.networks.sam import AdapterSam
from lib.training.annotator import InteractionPlan
from lib.training.loop import Batch, BatchResult, interactive_batch
from lib.training.losses import LossWeights
from lib.training.objective import RowObjective
from lib.training.parallel import average_gradients, mean_of, sum_of
from lib.training.processes import Place

OBJECTIVE = RowObjective(LossWeights(iou=5.0), single_share=0.5)
INTERACTION = InteractionPlan(
    corrections=2, box_share=0.35, both_share=0.05, interior_share=0.6, single_share=0.0
)


@dataclass(frozen=True)
class PretrainPlan:
    """Everything that decides a pretraining run.

    Attributes:
        minutes: length of the run; the learning rate follows the share of it that has passed.
        batch_size: images a step of each process.
        learning_rate: peak, reached after ``warmup`` of the run, then a cosine down to zero.
        weight_decay: of AdamW, on matrices and kernels only.
        clip: largest norm of the gradient.
        ema: decay of the moving average of the weights; less at first, so that the average is
            soon rid of the random numbers that a run begins with.
        seed: of data and prompts.
        threads: of torch in each process.
        bf16: run the network in bfloat16 autocast (needs AVX512-BF16 or AMX to be faster).
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

    minutes: float = 60.0
    batch_size: int = 8
    learning_rate: float = 6e-4
    warmup: float = 0.03
    weight_decay: float = 0.05
    clip: float = 1.0
    ema: float = 0.998
    seed: int = 1
    threads: int = 1
    bf16: bool = True
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


@torch.no_grad()
def _move_average(
    decay: float, averages: list[Tensor], currents: list[Tensor], steps: Tensor | int
) -> None:
    decay = min(decay, (1 + int(steps)) / (10 + int(steps)))
    torch._foreach_lerp_(averages, currents, 1.0 - decay)


def _learning(model: AdapterSam, what: Literal["all", "rating"]) -> list[nn.Parameter]:
    """The parameters that learn; the others are fixed."""
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


class Pretrainer:
    """A run: model, optimiser, moving average, clock. `run` goes on until the time is used up.

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
        self.model, self.plan, self.out = model.train(), plan, out
        self.images, self.data_set, self.place = images, data_set, place or Place()
        self.positions = [Position()] * self.place.world
        self.step = 0
        self.seconds = 0.0
        average = partial(_move_average, plan.ema)
        self.average = AveragedModel(model, multi_avg_fn=average)
        learning = _learning(model, plan.learns)
        matrices = [p for p in learning if p.ndim >= 2]
        vectors = [p for p in learning if p.ndim < 2]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": plan.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=plan.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )

    @property
    def averaged_model(self) -> AdapterSam:
        """The moving average as a model in evaluation mode."""
        module = self.average.module
        assert isinstance(module, AdapterSam)
        return module.eval()

    def learning_rate(self) -> float:
        """The rate for the share of the run that has passed: linear warm-up, then a cosine."""
        passed = min(1.0, self.seconds / (60 * self.plan.minutes))
        if passed < self.plan.warmup:
            return self.plan.learning_rate * max(passed / self.plan.warmup, 0.01)
        share = (passed - self.plan.warmup) / (1 - self.plan.warmup)
        return self.plan.learning_rate * 0.5 * (1 + math.cos(math.pi * share))

    def run(self, report: Callable[[Pretrainer, BatchResult], None]) -> None:
        """Train until the time is used up, calling ``report`` after every step.

        Raises:
            Samed2dError: the loss is no longer a number; the last saved state is intact.
        """
        torch.set_num_threads(self.plan.threads)
        started = time.monotonic() - self.seconds
        for mixture, share in self.plan.phases():
            end = 60 * self.plan.minutes * share
            if self.seconds < end:
                self._run_until(end, mixture, started, report)

    def _run_until(
        self,
        end: float,
        mixture: Mixture,
        started: float,
        report: Callable[[Pretrainer, BatchResult], None],
    ) -> None:
        seeds = (self.plan.seed, self.step, self.place.rank)
        rng = np.random.default_rng(seeds)
        loader = DataLoader(
            _Stream(
                *(self.images, self.data_set, mixture, seeds),
                *(self.positions[self.place.rank], self.place),
            ),
            batch_size=self.plan.batch_size,
            collate_fn=collate_placed,
            num_workers=1,
            prefetch_factor=4,
        )
        for batch, position in loader:
            result = self._train_step(batch, rng)
            self.positions = self._all_positions(position)
            self.step += 1
            # All processes must end at the same step.
            self.seconds = mean_of(time.monotonic() - started, self.model.pixel_mean.device)
            report(self, result)
            if self.seconds >= end:
                return

    def _all_positions(self, position: Position) -> list[Position]:
        """Where all processes are in the data set, of which each reads its part."""
        if self.data_set is None or self.place.world == 1:
            return [position] * self.place.world
        table = torch.zeros(self.place.world, 2, dtype=torch.int64)
        table[self.place.rank] = torch.tensor([position.epoch, position.taken])
        return [Position(*row) for row in sum_of(table, self.model.pixel_mean.device).tolist()]

    def _train_step(self, batch: Batch, rng: np.random.Generator) -> BatchResult:
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        self.optimiser.zero_grad(set_to_none=True)
        dtype = torch.bfloat16 if self.plan.bf16 else None
        result = interactive_batch(
            self.model, batch, rng, self.plan.interaction, self.plan.objective, autocast=dtype
        )
        if not all(math.isfinite(loss) for loss in result.losses):
            raise Samed2dError(
                got=f"a loss that is no number at step {self.step}",
                todo="resume from the saved state with a smaller learning rate",
            )
        average_gradients(self.model)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip)
        self.optimiser.step()
        self.average.update_parameters(self.model)
        return result

    def save(self) -> None:
        """Write the averaged weights (float16 safetensors) and the state to resume from."""
        self.out.mkdir(parents=True, exist_ok=True)
        facts = {"step": str(self.step), "plan": json.dumps(asdict(self.plan))}
        name = self.model.config.name
        path = self.out / f"{name}.safetensors"
        save_weights(self.averaged_model, path, dtype=torch.float16, metadata=facts)
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "positions": [[place.epoch, place.taken] for place in self.positions],
        }
        unfinished = self.out / "resume.pt.part"
        torch.save(state, unfinished)
        unfinished.replace(self.out / "resume.pt")

    def resume(self) -> bool:
        """Go on from the state saved in ``out``; False where there is none."""
        path = self.out / "resume.pt"
        if not path.is_file():
            return False
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]
        positions = [Position(*row) for row in state.get("positions", ())]
        if len(positions) == self.place.world:
            self.positions = positions
        elif self.data_set is not None:
            # Each process reads another part now: this epoch begins again.
            epoch = max((place.epoch for place in positions), default=0)
            self.positions = [Position(epoch)] * self.place.world
        return True

"""Batches of a run: a function of seed, epoch and step, so that a run can be taken up anywhere.

Of a distributed run every process makes its own part of each batch: image n of a batch belongs to
process n modulo their number, and what is drawn for it depends on n, not on the process.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lib.training.examples import ExampleSource
from lib.training.loop import Batch
from lib.training.parallel import total_of

MAX_ROWS_OF_IMAGE = 1000
"""Numbers of rows are made of this: image of the batch times this plus object of the image."""


@dataclass(frozen=True)
class Feed:
    """Makes batches.

    Attributes:
        source: of examples.
        batch_size: images in a batch, of all processes together.
        seed: of the run.
        rank: number of this process.
        world: processes in all; at most ``batch_size``.
        device: where processes exchange numbers.
    """

    source: ExampleSource
    batch_size: int
    seed: int
    rank: int = 0
    world: int = 1
    device: str = "cpu"

    def batch(self, epoch: int, step: int) -> Batch:
        """This process's part of one batch."""
        numbers = range(self.rank, self.batch_size, self.world)
        examples = [
            self.source.draw(np.random.default_rng([self.seed, epoch, step, number]))
            for number in numbers
        ]
        counts = [len(example.masks) for example in examples]
        rows = tuple(
            number * MAX_ROWS_OF_IMAGE + n
            for number, count in zip(numbers, counts, strict=True)
            for n in range(count)
        )
        return Batch(
            images=torch.stack([example.image for example in examples]),
            targets=np.concatenate([example.masks for example in examples]),
            image_of=torch.repeat_interleave(torch.arange(len(examples)), torch.tensor(counts)),
            encoded=self.source.encoded,
            normalised=True,
            rows=rows,
            share=self._share(len(rows)),
        )

    def rng(self, epoch: int, step: int) -> np.random.Generator:
        """For what all rows of a batch share; the same in all processes."""
        return np.random.default_rng([self.seed, epoch, step])

    def _share(self, rows: int) -> float:
        """What makes the mean over processes the mean over rows."""
        if self.world == 1:
            return 1.0
        return rows * self.world / total_of(float(rows), torch.device(self.device))

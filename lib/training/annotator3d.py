"""A simulated annotator of volumes for training: a click, then clicks on mistakes.

Rows are objects, each in its own cube. Clicks are placed on a coarser grid than the cube's, which
costs an eighth or less and moves a click by a voxel at most.

* `Annotator3d` is ours: all clicks so far are shown, the last logits are the mask prompt, zeros at
  first as in inference, and a row without a mistake keeps the clicks it has;
* `PublishedAnnotator3d` is SAM-Med3D's (Wang et al. 2023, arXiv:2310.15161, training script): one
  new click a step on a random mistake, the last logits as mask prompt, zeros at first; at one step
  in the middle and at the last one no click at all. Where nothing is wrong any more the original
  ends with an error; here the row gets a point that says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib.networks.sam3d import PromptTensors3d
from lib.prompts.simulate import LegacyRandom
from lib.prompts.simulate3d import (
    NO_VOXEL,
    Voxel,
    interior_voxel,
    next_voxel,
    published_training_click,
    random_voxel,
)

Targets = NDArray[np.bool_]
"""(R, s, s, s): the objects on the grid on which clicks are placed."""


class Prompter3d(Protocol):
    """What an interaction needs of an annotator."""

    steps: int
    threshold: float
    """Logit above which a voxel counts as covered when the next click is chosen."""

    def first(self) -> PromptTensors3d:
        """Prompts of the first step."""

    def correct(self, masks: Targets, low_res: Tensor) -> PromptTensors3d:
        """Prompts of the next step.

        Args:
            masks: (R, s, s, s), what the network answered.
            low_res: (R, 1, L, L, L) logits of that answer.
        """


@dataclass(frozen=True)
class Interaction3d:
    """How our annotator behaves.

    Attributes:
        clicks: steps of an interaction, each with one more click.
        interior_share: clicks in the middle of the largest mistake; the others lie anywhere on one.
        mask_only_share: corrections without any click, the last answer alone.
    """

    clicks: int = 4
    interior_share: float = 0.6
    mask_only_share: float = 0.05


class Annotator3d:
    """Our annotator.

    Args:
        targets: the objects, none of them empty.
        size: edge of the cube in voxels.
        low_res: edge of the mask prompt.
        plan: how it behaves.
        rng: source of all choices.
    """

    threshold = 0.0

    def __init__(
        self,
        targets: Targets,
        size: int,
        low_res: int,
        plan: Interaction3d,
        rng: np.random.Generator,
    ) -> None:
        self.steps, self._low_res = plan.clicks, low_res
        self._targets, self._plan, self._rng = targets, plan, rng
        self._stride = size // targets.shape[-1]
        self._clicks: list[list[Voxel]] = [[] for _ in targets]

    def first(self) -> PromptTensors3d:
        """A click in each object, and an empty mask."""
        self._add(np.zeros_like(self._targets))
        points = _points(self._clicks, self._stride)
        return PromptTensors3d(*points, _empty(self._targets, self._low_res))

    def correct(self, masks: Targets, low_res: Tensor) -> PromptTensors3d:
        """All clicks so far with one more for each row, and the last logits."""
        self._add(masks)
        if self._rng.random() < self._plan.mask_only_share:
            return PromptTensors3d(masks=low_res)
        return PromptTensors3d(*_points(self._clicks, self._stride), low_res)

    def _add(self, masks: Targets) -> None:
        for clicks, mask, target in zip(self._clicks, masks, self._targets, strict=True):
            voxel = self._click(mask, target, bool(clicks))
            if voxel != NO_VOXEL:
                clicks.append(voxel)

    def _click(self, mask: Targets, target: Targets, corrects: bool) -> Voxel:
        if self._rng.random() >= self._plan.interior_share:
            return random_voxel(mask, target, self._rng)
        return next_voxel(mask, target) if corrects else interior_voxel(target)


class PublishedAnnotator3d:
    """SAM-Med3D's annotator.

    Args:
        targets: the objects.
        size: edge of the cube in voxels.
        low_res: edge of the mask prompt.
        random: source of all choices.
    """

    steps = 11
    threshold = 0.5

    def __init__(self, targets: Targets, size: int, low_res: int, random: LegacyRandom) -> None:
        self._targets, self._random = targets, random
        self._stride, self._low_res = size // targets.shape[-1], low_res
        self._without_click = {random.randint(2, 9), self.steps - 1}
        self._step = 0

    def first(self) -> PromptTensors3d:
        """A random click in each object, and an empty mask."""
        empty = _empty(self._targets, self._low_res)
        return self._show(np.zeros_like(self._targets), empty)

    def correct(self, masks: Targets, low_res: Tensor) -> PromptTensors3d:
        """One new click for each row, or none, and the last logits."""
        self._step += 1
        return self._show(masks, low_res)

    def _show(self, masks: Targets, low_res: Tensor) -> PromptTensors3d:
        # The original draws a click at every step and leaves it out afterwards.
        drawn = [
            [published_training_click(mask, target, self._random)]
            for mask, target in zip(masks, self._targets, strict=True)
        ]
        if self._step in self._without_click:
            return PromptTensors3d(masks=low_res)
        return PromptTensors3d(*_points(drawn, self._stride), low_res)


def _empty(targets: Targets, low_res: int) -> Tensor:
    """Mask prompts of rows of which nothing is known yet."""
    return torch.zeros(len(targets), 1, *3 * (low_res,))


def _points(clicks: list[list[Voxel]], stride: int) -> tuple[Tensor, Tensor]:
    """Points (R, N, 3) in voxels of the cube and labels (R, N), padded with points of label -1."""
    most = max(1, *(len(row) for row in clicks))
    padded = [[*row, *[NO_VOXEL] * (most - len(row))] for row in clicks]
    points = torch.tensor([[voxel.index for voxel in row] for row in padded], dtype=torch.float32)
    labels = torch.tensor([[voxel.label for voxel in row] for row in padded])
    return points * stride + (stride - 1) / 2, labels

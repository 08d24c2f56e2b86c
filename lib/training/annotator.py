"""Simulated annotators: which prompts a batch of objects gets, step by step.

`PublishedAnnotator` is SAM-Med2D's (Cheng et al. 2023, arXiv:2308.16184, its training script):
a box or one point, then random points of the error that replace the earlier ones, and two steps
with nothing but the last mask. `Annotator` is ours: what a person with a viewer does, whose clicks
stay. Both give prompts in pixels of the network's frame.
"""

from __future__ import annotations

import random as python_random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib.networks.sam import PromptTensors
from lib.prompts.simulate import (
    BACKGROUND,
    FOREGROUND,
    NO_CLICK,
    Click,
    LegacyRandom,
    interior_click,
    next_click,
    published_boxes,
    published_first_points,
    published_next_points,
    published_shift,
    random_box,
    random_click,
)

Masks = NDArray[np.bool_]
"""(R, S, S): one mask a row."""

PUBLISHED_POINT_COUNTS = (1, 3, 5, 9)
PUBLISHED_CORRECTIONS = 8


@dataclass(frozen=True)
class InteractionPlan:
    """How our annotator behaves.

    Attributes:
        corrections: steps after the first prompt, each with a click on the worst mistake so far.
        box_share: how often the first prompt is a box instead of a click.
        both_share: how often it is a box and a click.
        interior_share: how often a click is the innermost pixel instead of a random one.
        near_boundary: how often a random click lies near the boundary.
        mask_only_share: how often a correction step shows only the last mask, without any click.
        single_share: how often the decoder's single-mask output is asked for instead of the three.
        box: "edges" moves each edge of a box on its own by ``box_sigma`` of its side; "shift"
            moves the whole box as SAM-Med2D does.
        box_sigma: standard deviation of that, as a share of the box's side.
        clicks: "mixed" as described above; "uniform" on any wrong pixel, as SAM-Med2D's.
    """

    corrections: int = 1
    box_share: float = 0.3
    both_share: float = 0.1
    interior_share: float = 0.5
    near_boundary: float = 0.2
    mask_only_share: float = 0.0
    single_share: float = 0.15
    box: Literal["edges", "shift"] = "edges"
    box_sigma: float = 0.05
    clicks: Literal["mixed", "uniform"] = "mixed"


class Prompter(Protocol):
    """Gives prompts for all rows of a batch, step by step."""

    @property
    def steps(self) -> int:
        """Prompts in all: the first one and the corrections."""

    def first(self) -> PromptTensors:
        """What is shown before there is any mask."""

    def correct(self, predicted: Masks, low_res: Tensor) -> PromptTensors:
        """What is shown next.

        Args:
            predicted: the masks that the last prompts gave, at the size of the targets.
            low_res: (R, 1, 64, 64) logits of the same.
        """

    def asks_for_candidates(self) -> bool:
        """Whether the present step takes the three candidates; else the single mask."""


class Annotator:
    """Ours: boxes off by a bit, clicks where mistakes are large, and all clicks stay.

    Args:
        targets: (R, S, S), none of them empty.
        plan: how it behaves.
        rng: for what all rows share. Two batches with equally seeded ones get the same kinds of
            prompts, so that the processes of a distributed run stay together.
        rows: numbers of the rows; each seeds what its row alone gets. 0 .. R - 1 where None.
    """

    def __init__(
        self,
        targets: Masks,
        plan: InteractionPlan,
        rng: np.random.Generator,
        rows: Sequence[int] | None = None,
    ) -> None:
        self.targets, self.plan, self._rng = targets, plan, rng
        seed = int(rng.integers(1 << 62))
        numbers = range(len(targets)) if rows is None else rows
        self._rngs = [np.random.default_rng([seed, number]) for number in numbers]
        self._clicks: list[list[Click]] = [[] for _ in targets]
        self._boxes: Tensor | None = None

    @property
    def steps(self) -> int:
        """The first prompt and the corrections."""
        return self.plan.corrections + 1

    def first(self) -> PromptTensors:
        """A box, a click or both."""
        kind = self._rng.random()
        if kind < self.plan.box_share + self.plan.both_share:
            pairs = zip(self.targets, self._rngs, strict=True)
            self._boxes = torch.tensor([self._box(target, rng) for target, rng in pairs])
        if kind >= self.plan.box_share:
            nothing = np.zeros_like(self.targets)
            self._add([self._first_click, self._uniform_click], nothing)
        return self._prompts(None)

    def correct(self, predicted: Masks, low_res: Tensor) -> PromptTensors:
        """One more click, or only the mask; the mask goes along as probabilities."""
        masks = torch.sigmoid(low_res.detach().float())
        if self._rng.random() < self.plan.mask_only_share:
            return PromptTensors(masks=masks)
        self._add([self._next_click, self._uniform_click], predicted)
        return self._prompts(masks)

    def asks_for_candidates(self) -> bool:
        """By chance, as the plan says."""
        return bool(self._rng.random() >= self.plan.single_share)

    def _add(self, rules: Sequence[_ClickRule], predicted: Masks) -> None:
        """One click a row, by the first rule or, where the plan wants uniform ones, the second."""
        rule = rules[self.plan.clicks == "uniform"]
        for row, shown, target, rng in zip(
            self._clicks, predicted, self.targets, self._rngs, strict=True
        ):
            row.append(rule(shown, target, rng))

    def _first_click(self, _: Masks, target: Masks, rng: np.random.Generator) -> Click:
        if rng.random() < self.plan.interior_share:
            return interior_click(target)
        return random_click(target, rng, self.plan.near_boundary)

    def _next_click(self, shown: Masks, target: Masks, rng: np.random.Generator) -> Click:
        share = 1.0 - self.plan.interior_share
        return next_click(shown, target, rng, share, self.plan.near_boundary)

    def _uniform_click(self, shown: Masks, target: Masks, rng: np.random.Generator) -> Click:
        wrong = np.flatnonzero(shown != target)
        if not len(wrong):
            return NO_CLICK
        y, x = divmod(int(wrong[rng.integers(len(wrong))]), target.shape[1])
        return Click(x, y, FOREGROUND if target[y, x] else BACKGROUND)

    def _box(self, target: Masks, rng: np.random.Generator) -> tuple[float, ...]:
        if self.plan.box == "edges":
            return random_box(target, rng, self.plan.box_sigma)
        random = LegacyRandom(int(rng.integers(1 << 32)))
        return tuple(map(float, published_shift(published_boxes(target), random)[0]))

    def _prompts(self, masks: Tensor | None) -> PromptTensors:
        points = labels = None
        if self._clicks[0]:
            points = torch.tensor([[(c.x, c.y) for c in row] for row in self._clicks]).float()
            labels = torch.tensor([[c.label for c in row] for row in self._clicks])
        return PromptTensors(points, labels, self._boxes, masks)


class _ClickRule(Protocol):
    def __call__(self, shown: Masks, target: Masks, rng: np.random.Generator, /) -> Click: ...


class PublishedAnnotator:
    """SAM-Med2D's, number for number: 9 steps, of which two show only the last mask.

    With the same seeds it draws what the original draws, in the same order.

    Args:
        targets: (R, S, S), none of them empty.
        python: stands for the module ``random``.
        numpy: stands for ``numpy.random``.
        boxes: (R, 4) and ``points`` (R, 1, 2) are drawn where None (by ``numpy``, row by row, the
            box before the point); the original draws them when it loads an image.
    """

    def __init__(
        self,
        targets: Masks,
        python: python_random.Random,
        numpy: LegacyRandom,
        boxes: NDArray[np.float32] | None = None,
        points: NDArray[np.float32] | None = None,
    ) -> None:
        self.targets, self._python, self._numpy = targets, python, numpy
        if boxes is None or points is None:
            rows = [
                (published_shift(published_boxes(t), numpy), published_first_points(t, numpy)[0])
                for t in targets
            ]
            boxes = np.concatenate([box for box, _ in rows])
            points = np.stack([point for _, point in rows])
        self._first_boxes, self._first_points = torch.from_numpy(boxes), torch.from_numpy(points)
        self._step = 0
        self._mask_only_step = -1

    @property
    def steps(self) -> int:
        """Nine."""
        return PUBLISHED_CORRECTIONS + 1

    def first(self) -> PromptTensors:
        """A box or one foreground point, never both."""
        if self._python.random() > 0.5:
            return PromptTensors(boxes=self._first_boxes)
        labels = torch.ones(self._first_points.shape[:2], dtype=torch.int64)
        return PromptTensors(points=self._first_points, labels=labels)

    def correct(self, predicted: Masks, low_res: Tensor) -> PromptTensors:
        """1, 3, 5 or 9 new points instead of the old ones, or nothing but the mask."""
        masks = torch.sigmoid(low_res.detach().float())
        points, labels = self._points(predicted)
        if self._step == 0:
            self._mask_only_step = int(self._numpy.randint(1, PUBLISHED_CORRECTIONS - 1))
        # Points were drawn for such a step too.
        without = self._step in (self._mask_only_step, PUBLISHED_CORRECTIONS - 1)
        self._step += 1
        if without:
            return PromptTensors(masks=masks)
        return PromptTensors(points, labels, masks=masks)

    def asks_for_candidates(self) -> bool:
        """Always."""
        return True

    def _points(self, predicted: Masks) -> tuple[Tensor, Tensor]:
        count = self._python.choice(PUBLISHED_POINT_COUNTS)
        pairs = [
            published_next_points(shown, target, self._numpy, count)
            for shown, target in zip(predicted, self.targets, strict=True)
        ]
        points = torch.from_numpy(np.stack([points for points, _ in pairs]))
        return points, torch.from_numpy(np.stack([labels for _, labels in pairs]))

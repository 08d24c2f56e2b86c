"""How good masks are after a box and after clicks, by a simulated user (protocol ``noc``).

The box is the exact one around the target. The first click is the target's innermost pixel, each
next one the innermost pixel of the largest error, foreground or background. Points accumulate, and
with every request all of them are sent as viewers send them: foreground first, then background (see
`lib.inference.chain`). No randomness.

Where it is asked for, the user goes on clicking until the mask is good: until an IoU of
`ENOUGH`, but not more often than a given number of times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lib.errors import OptionError
from lib.inference.segmenter import SegmentResult
from lib.prompts.components import bounding_box
from lib.prompts.prompt import Prompt
from lib.prompts.simulate import FOREGROUND, IGNORED, Click, interior_click, next_click
from lib.training.metrics import dice, iou

Mask = NDArray[np.bool_]
Ask = Callable[[Prompt], SegmentResult]
"""Segments on one image."""

BOX = "box"
MAX_CLICKS = 100
ENOUGH = 0.9
"""IoU at which a user stops who was not asked to click on."""
SIZES = (0.0, 16.0, 32.0, 64.0, 128.0)
"""Where the classes of targets begin: longer side of the bounding box, in pixels of the network."""


@dataclass(frozen=True)
class Plan:
    """Which prompts are scored: the box or not, and after how many clicks, in ascending order."""

    box: bool
    clicks: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Plan:
        """Read "box,1,3,5".

        Raises:
            OptionError: something else, or nothing at all.
        """
        words = {word.strip() for word in text.split(",") if word.strip()}
        clicks = words - {BOX}
        if not words or not all(
            word.isascii() and word.isdecimal() and 1 <= int(word) <= MAX_CLICKS for word in clicks
        ):
            raise OptionError(
                got=f"prompts {text!r}",
                allowed=f"box, and numbers of clicks from 1 to {MAX_CLICKS}, separated by commas",
                todo="write for instance box,1,3,5",
            )
        return cls(BOX in words, tuple(sorted({int(word) for word in clicks})))

    @property
    def names(self) -> tuple[str, ...]:
        """The prompts in the order of tables: "box", "1", "3", ..."""
        return (*((BOX,) if self.box else ()), *(str(count) for count in self.clicks))


@dataclass(frozen=True)
class Answer:
    """What one prompt gave.

    Attributes:
        prompt: in pixels of the image.
        mask: (H, W).
        dice: against the target.
        iou: against the target.
        seconds: until the answer was there.
        zoomed: whether it comes from a part of the image, see `lib.inference.zoom`.
    """

    prompt: Prompt
    mask: Mask
    dice: float
    iou: float
    seconds: float
    zoomed: bool


@dataclass(frozen=True)
class Interaction:
    """How one object was segmented.

    Attributes:
        answers: one for each name of the plan.
        by_click: (Dice, IoU) after 1, 2, ... clicks, as many as were given.
    """

    answers: Mapping[str, Answer]
    by_click: tuple[tuple[float, float], ...]

    def clicks_until(self, wanted: float, most: int) -> int:
        """Clicks until the IoU is at least ``wanted`` for the first time; ``most`` where never."""
        reached = (n for n, (_, iou) in enumerate(self.by_click, start=1) if iou >= wanted)
        return min(next(reached, most), most)


def annotate(ask: Ask, target: Mask, plan: Plan) -> dict[str, Answer]:
    """Let the simulated user segment one object.

    Args:
        ask: answers prompts on the image.
        target: (H, W), not empty.
        plan: what to try.

    Returns:
        An answer for each name of the plan.

    Raises:
        PromptError: the target is empty.
    """
    return dict(interact(ask, target, plan, most=0).answers)


def interact(ask: Ask, target: Mask, plan: Plan, most: int) -> Interaction:
    """As `annotate`, and then click on until the mask is good.

    Args:
        ask: answers prompts on the image.
        target: (H, W), not empty.
        plan: what to try in any case.
        most: clicks that are given at most beyond the plan; 0 for none.

    Raises:
        PromptError: the target is empty.
    """
    answers = {}
    if plan.box:
        x0, y0, x1, y1 = bounding_box(target)
        answers[BOX] = _answer(ask, Prompt(box=(x0, y0, x1, y1)), target)
    planned = max(plan.clicks, default=0)
    rng = np.random.default_rng(0)  # never drawn from: random_share is 0
    clicks = [interior_click(target)]
    scores: list[tuple[float, float]] = []
    for count in range(1, max(planned, most) + 1):
        if count > planned and max((iou for _, iou in scores), default=0.0) >= ENOUGH:
            break
        answer = _answer(ask, prompt_of(clicks), target)
        scores.append((answer.dice, answer.iou))
        if count in plan.clicks:
            answers[str(count)] = answer
        click = next_click(answer.mask, target, rng)
        if click.label != IGNORED:
            clicks.append(click)
    return Interaction(answers, tuple(scores))


def prompt_of(clicks: Sequence[Click]) -> Prompt:
    """Clicks as clients send them: foreground first, each kind in the order of clicking."""
    ordered = sorted(clicks, key=lambda click: click.label != FOREGROUND)
    points = tuple((float(click.x), float(click.y)) for click in ordered)
    return Prompt(points, tuple(click.label for click in ordered))


def agreement(ask: Ask, answers: Mapping[str, Answer]) -> dict[str, float]:
    """Dice of the masks that two networks give to the same prompts.

    Args:
        ask: the one to compare.
        answers: of the other one, from `annotate`.
    """
    return {
        name: dice(ask(answer.prompt).prediction.mask, answer.mask)
        for name, answer in answers.items()
    }


def network_side(target: Mask, size: int = 256) -> float:
    """The longer side of a target's bounding box in pixels of the network.

    Args:
        target: (H, W), not empty.
        size: edge of the network's frame.
    """
    height, width = target.shape
    x0, y0, x1, y1 = bounding_box(target)
    return max((x1 - x0) * size / width, (y1 - y0) * size / height)


def size_class(side: float) -> str:
    """The name of the class of a target whose longer side is ``side`` pixels: "16 to 32"."""
    number = sum(side >= start for start in SIZES) - 1
    return size_names()[number]


def size_names() -> tuple[str, ...]:
    """All classes, smallest first."""
    middle = (f"{low:g} to {high:g}" for low, high in pairwise(SIZES[1:]))
    return (f"under {SIZES[1]:g}", *middle, f"{SIZES[-1]:g} and more")


def _answer(ask: Ask, prompt: Prompt, target: Mask) -> Answer:
    begun = time.perf_counter()
    result = ask(prompt)
    seconds = time.perf_counter() - begun
    mask = result.prediction.mask
    zoomed = result.crop is not None
    return Answer(prompt, mask, dice(mask, target), iou(mask, target), seconds, zoomed)

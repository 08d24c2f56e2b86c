"""A volume of discs, and a network that sees them: for the rules of walks and seeds.

The network answers what its prompt says, so that a test can tell where an answer came from: the
logits inside of a mask are 4 + the number of the prompt it goes back to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from lib.inference.confidence import Judgement
from lib.inference.decoder import LowRes
from lib.inference.view import SliceView
from lib.inference.volume_network import Spent, Step, VolumeSlices
from lib.prompts.prompt import Prompt

SIDE = 64
INSIDE = 4.0
"""Logit of an answer to a prompt; steps carry it on."""


def disc(x: float, y: float, radius: float, logit: float = INSIDE) -> LowRes:
    """An answer that is a disc, on the grid of the network's masks."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = np.hypot(columns - x, rows - y) < radius
    return LowRes(np.where(inside, logit, -INSIDE).astype(np.float32)[None], iou=0.9)


class DiscNetwork:
    """Takes the place of `lib.inference.volume_network.VolumeNetwork`.

    A foreground click is answered with a disc of radius 8 around it, background clicks are cut
    out of the mask prompt. A step gives the neighbour's mask again.

    Args:
        count: slices.
        confidence: slice -> what a step on it is trusted; 1 elsewhere.
        empty: slices on which steps find nothing.
        at_step: called with each slice, before it is answered.
    """

    def __init__(
        self,
        count: int,
        confidence: Mapping[int, float] | None = None,
        empty: tuple[int, ...] = (),
        at_step: Callable[[int], None] = lambda k: None,
    ) -> None:
        self.slices = VolumeSlices(count, self.view)
        self.spent = Spent()
        self.prompts: dict[int, Prompt] = {}
        self.stepped: list[int] = []
        self._confidence = dict(confidence or {})
        self._empty = empty
        self._at_step = at_step

    def view(self, k: int) -> SliceView:
        return SliceView(np.full((SIDE, SIDE), k, dtype=np.int16))

    def prompted(self, k: int, prompt: Prompt) -> LowRes:
        prompt.validate_for(SIDE, SIDE)
        self.prompts[k] = prompt
        logits = np.full((1, SIDE, SIDE), -INSIDE, dtype=np.float32)
        if prompt.mask is not None:
            logits = np.array(prompt.mask)
        for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
            around = disc(x, y, 8 if label else 3, INSIDE + k / 100).logits
            logits = np.where(around > 0, around if label else -INSIDE, logits)
        return LowRes(logits, iou=0.8)

    def reference(self, k: int, answer: LowRes) -> Any:
        return np.full(1, k)

    def step(self, k: int, neighbour: LowRes, reference: Any) -> Step:
        self._at_step(k)
        self.stepped.append(k)
        answer = disc(0, 0, 0) if k in self._empty else LowRes(neighbour.logits.copy(), iou=0.9)
        return Step(k, answer, Judgement(self._confidence.get(k, 1.0)))

    def mask(self, k: int, answer: LowRes) -> np.ndarray:
        return answer.logits[0] > 0


def click(x: float = 30, y: float = 30, label: int = 1) -> Prompt:
    """A prompt of one click."""
    return Prompt(points=((x, y),), labels=(label,))


def summary(result: Any) -> SimpleNamespace:
    """What of a result can be compared with ==."""
    return SimpleNamespace(
        slices=list(result.masks),
        bits={k: mask.unpack().tobytes() for k, mask in result.masks.items()},
        confidence=dict(result.confidence),
        stops=[(stop.seed, stop.last, stop.reason) for stop in result.stops],
    )

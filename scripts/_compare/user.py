"""A simulated user who segments an object of a volume with a served model.

The rule is that of `lib.training.evaluate_volume`, the same for all models: first the innermost
pixel of the object on the slice that halves it; then, on the slice with the most wrong pixels, the
innermost pixel of its largest error. Nothing is random. A model that answers slice by slice is
asked about the clicked slice alone; what it said of other slices stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.imaging.segmentation import read_label
from lib.prompts.components import largest_component
from lib.prompts.simulate import FOREGROUND, interior_click, next_click
from lib.training.evaluate_volume import Target, middle_slice

Ask = Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]
"""An InferTask: request -> path of a label file, facts."""
Voxel = list[int]
"""[i, j, k], as requests have it."""


@dataclass(frozen=True)
class Session:
    """What one object was segmented like: Dice and seconds of each prompt, and by what."""

    dice: tuple[float, ...]
    seconds: tuple[float, ...]
    version: str


def segment(ask: Ask, image: Path, target: Target, prompts: int, by_slice: bool) -> Session:
    """Let the user segment one object.

    Args:
        ask: the model.
        image: file of the volume.
        target: the object; on at least one slice.
        prompts: how many at most.
        by_slice: the model answers for the clicked slice alone.
    """
    k = middle_slice(target)
    click = interior_click(largest_component(target[k])[0])
    given: dict[bool, list[Voxel]] = {True: [], False: []}
    found = np.zeros_like(target)
    dice: list[float] = []
    seconds: list[float] = []
    version = ""
    for _ in range(prompts):
        given[click.label == FOREGROUND].append([int(click.x), int(click.y), k])
        chosen = [[p for p in points if not by_slice or p[2] == k] for points in given.values()]
        request = {"image": str(image), "foreground": chosen[0], "background": chosen[1]}
        begun = time.perf_counter()
        path, facts = ask(request)
        seconds.append(time.perf_counter() - begun)
        answer = _answer(Path(path))
        if by_slice:
            found[k] = answer[k]
        else:
            found = answer
        version = str(facts["model_version"])
        dice.append(_dice(found, target))
        k = int(np.argmax((found != target).sum(axis=(1, 2))))
        if np.array_equal(found[k], target[k]):
            break
        click = next_click(found[k], target[k], np.random.default_rng(0))
    return Session(tuple(dice), tuple(seconds), version)


def _answer(path: Path) -> NDArray[np.bool_]:
    """The mask (K, H, W) of an answer, whose file goes."""
    try:
        labels, _ = read_label(path)
    finally:
        path.unlink()
    return np.ascontiguousarray(labels.transpose(2, 1, 0)) > 0


def _dice(found: NDArray[np.bool_], target: NDArray[np.bool_]) -> float:
    both = int((found & target).sum())
    return 2 * both / (int(found.sum()) + int(target.sum()))

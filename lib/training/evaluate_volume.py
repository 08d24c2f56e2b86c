"""How good a volume is after one click, and after a few corrections by a simulated user.

The user clicks once: on the slice that halves the object's volume (as many of its voxels lie below
as above), on the innermost pixel of the largest part. Then she corrects: on the slice with the most
wrong pixels, on the innermost pixel of its largest error, foreground or background. No randomness.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib.inference.propagate import PropagateSettings, VolumeResult, propagate
from lib.inference.volume_network import VolumeNetwork
from lib.prompts.components import largest_component
from lib.prompts.prompt import Prompt
from lib.prompts.simulate import FOREGROUND, Click, interior_click, next_click

Target = NDArray[np.bool_]
"""(K, H, W): the object slice by slice."""


@dataclass(frozen=True)
class VolumeScore:
    """What one object was segmented like.

    Attributes:
        dice: of the volume after one click, and after each correction.
        seconds: for the answer to one click, and to each correction.
        first_slice: of the one click.
        seed_dice: of the clicked slice alone, after one click.
    """

    dice: tuple[float, ...]
    seconds: tuple[float, ...]
    first_slice: int
    seed_dice: float


def annotate(
    network: Callable[[], VolumeNetwork],
    target: Target,
    corrections: int,
    settings: PropagateSettings,
    progress: Callable[[], object] = lambda: None,
) -> VolumeScore:
    """Let the simulated user segment one object.

    Args:
        network: looks at the volume; called for each request.
        target: the object; on at least one slice.
        corrections: how many at most.
        settings: of the propagation.
        progress: called after each answer.
    """
    first = middle_slice(target)
    clicks = {first: [interior_click(largest_component(target[first])[0])]}
    dice: list[float] = []
    seconds: list[float] = []
    seed_dice = 0.0
    for number in range(corrections + 1):
        begun = time.perf_counter()
        result = propagate(network(), prompts_of(clicks), settings)
        seconds.append(time.perf_counter() - begun)
        dice.append(volume_dice(result, target))
        if number == 0:
            seed_dice = volume_dice(result, target, only=first)
        progress()
        correction = worst_error(result, target)
        if correction is not None:
            k, click = correction
            clicks.setdefault(k, []).append(click)
    return VolumeScore(tuple(dice), tuple(seconds), first, seed_dice)


def middle_slice(target: Target) -> int:
    """The slice at which half of the object's voxels are reached."""
    areas = np.cumsum(target.sum(axis=(1, 2)))
    return int(np.searchsorted(areas, areas[-1] / 2))


def prompts_of(clicks: Mapping[int, list[Click]]) -> dict[int, Prompt]:
    """Clicks as clients send them: on each slice foreground first."""
    prompts = {}
    for k, given in clicks.items():
        ordered = sorted(given, key=lambda click: click.label != FOREGROUND)
        points = tuple((float(click.x), float(click.y)) for click in ordered)
        prompts[k] = Prompt(points, tuple(click.label for click in ordered))
    return prompts


def worst_error(result: VolumeResult, target: Target) -> tuple[int, Click] | None:
    """The slice with the most wrong pixels and the click that corrects it; None where none is."""
    errors = [int((mask_of(result, k, target) != target[k]).sum()) for k in range(len(target))]
    k = int(np.argmax(errors))
    if errors[k] == 0:
        return None
    rng = np.random.default_rng(0)  # never drawn from: random_share is 0
    return k, next_click(mask_of(result, k, target), target[k], rng)


def volume_dice(result: VolumeResult, target: Target, only: int | None = None) -> float:
    """Dice of the volume, or of one slice, without making an array of the volume."""
    both = size = 0
    for k in range(len(target)) if only is None else [only]:
        mask = mask_of(result, k, target)
        both += int((mask & target[k]).sum())
        size += int(mask.sum()) + int(target[k].sum())
    return 2 * both / size if size else 1.0


def mask_of(result: VolumeResult, k: int, target: Target) -> NDArray[np.bool_]:
    """The mask (H, W) of slice k; empty where the result has none."""
    found = result.masks.get(k)
    return np.zeros(target.shape[1:], dtype=np.bool_) if found is None else found.unpack()

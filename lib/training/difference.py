"""How far two sets of weights are apart, part by part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Difference:
    """One part of the network.

    Attributes:
        part: "image_encoder", "prompt_encoder" or "mask_decoder".
        changed, tensors: tensors that differ, and all of them.
        relative: length of the difference of all its weights over the length of the first ones.
        largest: name of the tensor that changed most, relative to itself; empty where none did.
    """

    part: str
    changed: int
    tensors: int
    relative: float
    largest: str


def compare_tensors(
    a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]
) -> tuple[Difference, ...]:
    """Compare two state dicts of the same network, in the order of their parts."""
    parts: dict[str, list[str]] = {}
    for name in a:
        parts.setdefault(name.split(".")[0], []).append(name)
    return tuple(_compare(part, names, a, b) for part, names in parts.items())


def _compare(
    part: str, names: list[str], a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]
) -> Difference:
    moved = {name: float((b[name].double() - a[name].double()).norm()) for name in names}
    length = {name: float(a[name].double().norm()) for name in names}
    changed = [name for name in names if not torch.equal(a[name], b[name])]
    return Difference(
        part=part,
        changed=len(changed),
        tensors=len(names),
        relative=_ratio(_total(moved), _total(length)),
        largest=max(changed, key=lambda name: _ratio(moved[name], length[name]), default=""),
    )


def _total(lengths: Mapping[str, float]) -> float:
    return math.hypot(*lengths.values())


def _ratio(moved: float, length: float) -> float:
    return moved / length if length > 0 else (math.inf if moved > 0 else 0.0)

"""Which labelled slices or volumes judge a training: by patient, and the same ones in every run.

A patient's side follows from a hash of its name alone, so new patients do not move old ones. What
a published version has learned from is noted with it (`unit_id`) and does not judge a later one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

JUDGES = 3
"""Patients that judge at least, where there are enough: one alone says little."""

ID_DIGITS = 16
"""Hexadecimal digits of the hash that stands for a patient."""


class Unit(Protocol):
    """Something labelled."""

    @property
    def name(self) -> str:
        """Of the image or slice."""

    @property
    def patient(self) -> str:
        """Whose it is."""


Item = TypeVar("Item", bound=Unit)


@dataclass(frozen=True)
class Split(Generic[Item]):
    """Two sides.

    Attributes:
        training: to learn from.
        validation: to judge by.
        level: what the validation side is new to the network by: "patient"; "slice" where there
            is one patient; "none" where everything was or is learned from, because there is one
            slice, which does both, or because every patient was learned from before.
    """

    training: tuple[Item, ...]
    validation: tuple[Item, ...]
    level: Literal["patient", "slice", "none"]


def unit_id(patient: str) -> str:
    """What stands for a patient in files that leave the hospital: a hash, not the name."""
    return hashlib.sha256(f"samed2d:{patient}".encode()).hexdigest()[:ID_DIGITS]


def split_cases(
    images: Sequence[Item], share: float = 0.2, seen: frozenset[str] = frozenset()
) -> Split[Item]:
    """Divide labelled slices, or volumes.

    A patient validates when its hash falls into the first ``share``. Where these are few, those
    with the next hashes do too, up to `JUDGES` and a third of all; at most half of them do.

    Args:
        images: of all patients, in any order.
        share: of the patients that validate, 0..1.
        seen: `unit_id` of patients that were learned from before; they never validate, but for
            the case that all were (level "none").

    Returns:
        Both sides in the order of the images' names; neither is empty where there are two images.
    """
    ordered = sorted(images, key=lambda image: image.name)
    patients = sorted({image.patient for image in ordered}, key=unit_id)
    if len(patients) < 2:
        return _split_slices(ordered, share)
    fresh = [patient for patient in patients if unit_id(patient) not in seen]
    candidates = fresh or patients
    chosen = [p for p in candidates if int(unit_id(p), 16) < share * 16**ID_DIGITS]
    least = max(1, min(JUDGES, len(patients) // 3))
    held_out = set(candidates[: max(least, min(len(chosen), len(patients) // 2))])
    return Split(
        tuple(image for image in ordered if image.patient not in held_out),
        tuple(image for image in ordered if image.patient in held_out),
        "patient" if fresh else "none",
    )


def _split_slices(ordered: Sequence[Item], share: float) -> Split[Item]:
    """One patient: the last slices judge, which are farthest from most of the others."""
    if len(ordered) < 2:
        return Split(tuple(ordered), tuple(ordered), "none")
    count = min(len(ordered) // 2, max(1, math.ceil(share * len(ordered))))
    return Split(tuple(ordered[:-count]), tuple(ordered[-count:]), "slice")

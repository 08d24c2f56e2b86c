"""From a list of durations to the few numbers that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Durations in milliseconds.

    Attributes:
        count: how many were measured.
        median: half of them took longer.
        p95: one in twenty took longer (linear between the two nearest).
        minimum: the shortest; the least disturbed by other work of the machine.
        maximum: the longest.
    """

    count: int
    median: float
    p95: float
    minimum: float
    maximum: float


def summarise(seconds: Sequence[float]) -> Summary:
    """The numbers of a list of durations, in milliseconds.

    Args:
        seconds: at least one, each at least 0.

    Raises:
        ValueError: no duration, or one that is negative or no number.
    """
    values = 1000 * np.asarray(seconds, dtype=np.float64)
    if not values.size or not (values >= 0).all():
        raise ValueError("at least one duration, none of them negative")
    median, p95 = np.percentile(values, (50, 95))
    return Summary(
        count=len(values),
        median=float(median),
        p95=float(p95),
        minimum=float(values.min()),
        maximum=float(values.max()),
    )


def times_faster(baseline: Summary, other: Summary) -> float:
    """How many times as fast: the baseline's median by that of the other."""
    return baseline.median / other.median if other.median > 0 else float("inf")

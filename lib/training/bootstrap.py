"""How sure a mean is: percentile intervals by resampling whole patients.

Objects of one patient are alike, so resampling objects would promise too much. Patients are drawn
with replacement and the mean over all objects of the draw is taken (cluster bootstrap; Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13). With fewer than about five
patients the interval is a rough guide: there are few different draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and where it may lie.

    Attributes:
        mean: over all objects.
        low, high: ends of the 95 % interval; equal to the mean where nothing can be resampled.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """With signs, for differences: "+0.053 (95 % interval +0.021 to +0.080)"."""
        return f"{self.mean:+.3f} (95 % interval {self.low:+.3f} to {self.high:+.3f})"


def mean_intervals(
    values: NDArray[np.float64], groups: Sequence[str], seed: int = 0
) -> tuple[Interval, ...]:
    """The mean of each column and its interval.

    Args:
        values: (N, C), one row for each object.
        groups: N names of patients; where they are all one, objects are resampled.
        seed: of the draws, which are the same for all columns.

    Returns:
        C intervals.

    Raises:
        ValueError: no row, or not as many groups as rows.
    """
    if not len(values) or len(values) != len(groups):
        raise ValueError(f"{len(values)} rows of {len(groups)} groups")
    number = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    if number.max() == 0:
        number = np.arange(len(values))
    count = int(number.max()) + 1
    sizes = np.bincount(number, minlength=count).astype(np.float64)
    sums = np.stack([np.bincount(number, column, count) for column in values.T], axis=1)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), DRAWS)
    means = (drawn @ sums) / (drawn @ sizes)[:, None]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    columns = zip(values.mean(axis=0), low, high, strict=True)
    return tuple(Interval(*map(float, column)) for column in columns)

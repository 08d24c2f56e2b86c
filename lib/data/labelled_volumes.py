"""Labelled volumes as a whole: what a training of a network for volumes learns from.

The counterpart of `lib.data.labelled_slices`, with its reasons for what is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lib.data.labelled_slices import (
    EMPTY,
    NO_LABEL_MAP,
    TOO_SMALL,
    LabelledSlices,
    Skipped,
    label_values,
)
from lib.data.phantoms3d import MIN_VOXELS
from lib.data.windows3d import MOST_LABELS, LabelledVolume, resampled
from lib.imaging.volume import Volume


@dataclass
class VolumeCollector:
    """Takes whole volumes where `lib.data.labelled_slices.slices_of` would take slices.

    Attributes:
        volumes: taken so far; each has an object that is large enough to learn from.
    """

    volumes: list[LabelledVolume] = field(default_factory=list)

    def __call__(
        self,
        image: str,
        patient: str,
        volume: Volume,
        labels: NDArray[np.generic],
        names: Mapping[int, str],
        reviewed: frozenset[int] = frozenset(),
    ) -> LabelledSlices:
        """Keep a volume; what was left out, and no slices.

        Args:
            image: its name.
            patient: whose it is.
            volume: its pixels.
            labels: (I, J, K) label map on the image's grid; 0 is no label.
            names: label value -> name; a value without one is called "label 3".
            reviewed: not needed here.
        """
        values = label_values(volume, labels)
        if isinstance(values, str):
            return _left_out(image, values)
        found = [int(value) for value in np.unique(values) if value]
        if not found:
            return _left_out(image, EMPTY)
        if len(found) > MOST_LABELS:
            return _left_out(image, NO_LABEL_MAP)
        called = {value: names.get(value) or f"label {value}" for value in found}
        taken = resampled(image, patient, volume, values, called)
        if not any((taken.labels == value).sum() >= MIN_VOXELS for value in taken.names):
            return _left_out(image, TOO_SMALL)
        self.volumes.append(taken)
        return LabelledSlices(())


def _left_out(image: str, reason: str) -> LabelledSlices:
    return LabelledSlices((), (Skipped(image, None, "", reason),))

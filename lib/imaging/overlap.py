"""Who keeps a pixel that two labels claim.

The rule is "last edited wins": an answer is returned as it is, and whoever puts it into a label map
gives it its pixels. OHIF does otherwise where the model is 2D: it leaves pixels of other labels
alone; 3D Slicer gives them to the label that was just clicked. `without_others` is for who wants
them kept in every viewer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def without_others(
    mask: NDArray[np.bool_], labels: NDArray[np.generic], own: int
) -> NDArray[np.bool_]:
    """A mask less the pixels that belong to other labels already.

    Args:
        mask: (H, W).
        labels: (H, W), 0 where no label is.
        own: value of the label that the mask is for; its old pixels may be taken.

    Raises:
        ValueError: arrays of different size.
    """
    if mask.shape != labels.shape:
        raise ValueError(f"mask {mask.shape} and labels {labels.shape}")
    kept: NDArray[np.bool_] = mask & ((labels == 0) | (labels == own))
    return kept

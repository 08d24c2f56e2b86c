"""Scored slices for tests."""

from __future__ import annotations

import numpy as np

from lib.learning.slice_score import ScoreTable, SliceScore


def direction(angle: float, length: int = 4) -> np.ndarray:
    """A vector of length 1 in the plane of the first two axes."""
    vector = np.zeros(length, np.float32)
    vector[:2] = np.cos(angle), np.sin(angle)
    return vector


def row(
    image: str,
    k: int = 0,
    uncertainty: float = 0.5,
    angle: float = 0.0,
    model: str = "net-1",
    encoder: str = "enc-1",
    labelled: bool = False,
) -> SliceScore:
    """A slice whose features are a direction."""
    return SliceScore(image, k, uncertainty, direction(angle), model, encoder, labelled)


def table(*rows: SliceScore) -> ScoreTable:
    """Some slices together."""
    return ScoreTable(rows)

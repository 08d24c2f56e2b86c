"""The scores of one image: a few of its slices encoded, and looked at by a grid of clicks.

Costs for each slice one encode, unless it was encoded before, and at most 64 decodes in batches of
16; of a labelled slice no decode at all. Everything goes to the worker of the network in such
pieces, behind everybody's requests, so a click waits for one piece at most. What is encoded is kept
on disk only: going through a datastore must not push out of memory what people click on.

Concurrency contract: no state; the scorer's thread alone calls it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lib.imaging.volume import Volume
from lib.inference.decoder import Embedding
from lib.inference.proposals import Filter, busy_points, decode_points, select
from lib.inference.segmenter import SliceSegmenter
from lib.inference.uncertainty import slice_uncertainty
from lib.inference.view import SliceView
from lib.inference.worker import Priority
from lib.learning.slice_score import SliceScore, pooled

SIDE = 8
"""Clicks along each side of a slice."""
OBJECTS = Filter(min_iou=0.0, min_stability=0.0, max_overlap=0.5, most=12)
"""A slice is judged by its surest objects, however unsure: a threshold would leave out what the
network does not know, which is what is looked for."""


def score_slice(
    segmenter: SliceSegmenter,
    view: SliceView,
    turn: Callable[[], None] = lambda: None,
    labelled: bool = False,
) -> tuple[float, NDArray[np.float32]]:
    """Uncertainty (NaN for a labelled slice) and features (C,) of one slice.

    Args:
        segmenter: of the version that answers.
        view: the slice.
        turn: called before each piece of work; waits until it is welcome, may raise.
        labelled: only its features are wanted.

    Raises:
        ImageError: pixels that are no image.
    """
    worker, embedder = segmenter.worker, segmenter.embedder
    _ = view.digest  # here, and not while others wait for the worker
    turn()
    image = worker.run(Priority.SCORE, lambda: embedder.embed(view, remember=False)).embedding
    features = pooled(image.tensor.cpu().numpy())
    if labelled:
        return float("nan"), features

    def run(work: Callable[[], object]) -> object:
        turn()
        return worker.run(Priority.SCORE, work)

    return _uncertainty(segmenter, image, view, run), features


def score_image(
    segmenter: SliceSegmenter,
    image: str,
    views: dict[int, SliceView],
    turn: Callable[[], None] = lambda: None,
    labelled: bool = False,
) -> list[SliceScore]:
    """Scores of some slices of an image; arguments as for `score_slice`."""
    rows = []
    for k, view in views.items():
        uncertainty, features = score_slice(segmenter, view, turn, labelled)
        versions = segmenter.model_version, segmenter.embedder.encoder_version
        rows.append(SliceScore(image, k, uncertainty, features, *versions, labelled))
    return rows


def spread_slices(total: int, count: int) -> list[int]:
    """At most ``count`` slices of ``total``: the middles of equal parts, so not the very ends."""
    middles = (np.arange(count) + 0.5) * total / count
    return sorted({int(k) for k in middles})


def labelled_slices(label: Volume | None, volume: Volume, count: int) -> list[int]:
    """At most ``count`` of the slices of an image that have a label, evenly spread.

    Of all slices where there is no usable label map, or an empty one.
    """
    if label is None or label.shape != volume.shape:
        return spread_slices(volume.n_slices, count)
    there = [k for k in range(label.n_slices) if np.any(label.slice(k))]
    if not there:
        return spread_slices(volume.n_slices, count)
    return [there[n] for n in spread_slices(len(there), count)]


def _uncertainty(
    segmenter: SliceSegmenter,
    image: Embedding,
    view: SliceView,
    run: Callable[[Callable[[], object]], object],
) -> float:
    points = busy_points(view.image8()[:, :, 1], SIDE)
    if not points:
        return 0.0
    candidates = decode_points(segmenter.decoder, image, points, run=run)
    return slice_uncertainty(candidates, select(candidates, OBJECTS))

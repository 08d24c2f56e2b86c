"""What a network finds in an image where nobody has clicked: objects under a grid of points.

Our own, smaller version of the idea of segment-anything's automatic mask generator (Kirillov et
al., Segment Anything, 2023, section 5): every point of a grid is a click, of each click all
candidate masks are taken, and those stay that the network rates well, that hardly change with the
threshold (stability), and that are not nearly the same as a better one (non-maximum suppression).
Everything is done at the resolution of the network's own masks, and no part of the image is looked
at twice.

Costs one decode a grid point, in batches of `ROWS`: 64 decodes with the defaults. Nothing is
encoded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lib.inference.decoder import Embedding, LowRes, PromptDecoder
from lib.prompts.prompt import Point, Prompt

Floats = NDArray[np.float32]
Result = TypeVar("Result")
Run = Callable[[Callable[[], Any]], Any]
"""Does a piece of work and gives its result, on a worker for example."""
FLAT = 4
"""A field with no larger difference of its 8 bit grey values shows nothing."""
ROWS = 16
"""So many clicks are decoded together. Somebody who clicks meanwhile waits for one such batch,
which takes a CPU about as long as to encode an image."""


@dataclass(frozen=True)
class Filter:
    """Which masks stay.

    Attributes:
        min_iou: predicted IoU, 0..1.
        min_stability: 0..1, see `stability`.
        margin: logits by which the threshold is moved to see whether a mask is stable.
        max_overlap: IoU of two masks above which only the better one stays.
        min_area: share of the image, 0..1.
        max_area: likewise; what covers nearly all of the image is no object.
        most: so many objects at most.
    """

    min_iou: float = 0.6
    min_stability: float = 0.6
    margin: float = 1.0
    max_overlap: float = 0.6
    min_area: float = 0.001
    max_area: float = 0.9
    most: int = 64


@dataclass(frozen=True, eq=False)
class Candidates:
    """All masks of R clicks on one image.

    Attributes:
        points: (R, 2) the clicks (x, y) in pixels of the image.
        cells: (R, 2) the same as (column, row) of the masks.
        logits: (R, M, 64, 64) float32, M candidates of each click.
        iou: (R, M) predicted IoU, 0..1; 0 where the network's was no number.
    """

    points: NDArray[np.float64]
    cells: NDArray[np.intp]
    logits: Floats
    iou: Floats


@dataclass(frozen=True, eq=False)
class Proposal:
    """One object that the network finds by itself.

    Attributes:
        mask: (64, 64) bool on the network's grid; `PromptDecoder.enlarge` of ``low_res`` brings it
            to the image.
        logits: (1, 64, 64) float32, positive inside.
        iou: predicted, 0..1.
        stability: 0..1, see `stability`.
        point: (x, y) the click that found it, in pixels of the image.
    """

    mask: NDArray[np.bool_]
    logits: Floats
    iou: float
    stability: float
    point: Point

    @property
    def low_res(self) -> LowRes:
        """The same as an answer of the decoder; also a mask prompt."""
        return LowRes(self.logits, self.iou)


def at_once(work: Callable[[], Result]) -> Result:
    """Do the work here and now."""
    return work()


def propose(
    decoder: PromptDecoder,
    embedding: Embedding,
    grid: int = 8,
    wanted: Filter | None = None,
    run: Run = at_once,
) -> tuple[Proposal, ...]:
    """The objects of an image, the surest first; costs ``grid`` * ``grid`` decodes.

    Args:
        decoder: of the network.
        embedding: of the image.
        grid: clicks along each side of the image.
        wanted: which masks stay; the defaults of `Filter` where None.
        run: does each batch of decodes, see `decode_points`.
    """
    points = grid_points(embedding.height, embedding.width, grid)
    return select(decode_points(decoder, embedding, points, run=run), wanted or Filter())


def grid_points(height: int, width: int, side: int) -> tuple[Point, ...]:
    """Points (x, y) in the middles of ``side`` x ``side`` equal fields of an image, row by row."""
    shares = (np.arange(side) + 0.5) / side
    xs, ys = shares * width - 0.5, shares * height - 0.5
    return tuple((float(x), float(y)) for y in ys for x in xs)


def busy_points(grey: NDArray[np.uint8], side: int) -> tuple[Point, ...]:
    """Those of `grid_points` whose field shows anything.

    Air around a patient and the black edge of an ultrasound picture are one grey value; a click
    there costs a decode and says nothing.

    Args:
        grey: (H, W) as the network sees the image.
        side: as for `grid_points`.
    """
    height, width = grey.shape
    rows, columns = (np.linspace(0, n, side + 1).astype(int) for n in (height, width))
    points = []
    for number, point in enumerate(grid_points(height, width, side)):
        i, j = divmod(number, side)
        down, right = max(rows[i + 1], rows[i] + 1), max(columns[j + 1], columns[j] + 1)
        field = grey[rows[i] : down, columns[j] : right]
        if int(field.max()) - int(field.min()) > FLAT:
            points.append(point)
    return tuple(points)


def decode_points(
    decoder: PromptDecoder,
    embedding: Embedding,
    points: Sequence[Point],
    rows: int = ROWS,
    run: Run = at_once,
) -> Candidates:
    """All candidate masks of single foreground clicks; one decode a click.

    Args:
        decoder: of the network.
        embedding: of the image.
        points: at least one (x, y) in pixels of the image.
        rows: decoded together as rows of one batch.
        run: does each batch; a server hands them to its worker one by one, so that somebody who
            clicks waits for one batch at most.

    Raises:
        PromptError: a point beside the image.
    """
    prompts = [Prompt(points=(point,), labels=(1,)) for point in points]
    parts = []
    for start in range(0, len(prompts), rows):
        batch = prompts[start : start + rows]
        parts.append(run(partial(decoder.candidate_rows, embedding, batch)))
    logits = np.concatenate([part[0] for part in parts])
    iou = np.concatenate([part[1] for part in parts])
    places = np.asarray(points, dtype=np.float64)
    size = logits.shape[-1]
    scale = size / np.array([embedding.width, embedding.height])
    cells = np.clip((places + 0.5) * scale, 0, size - 1).astype(np.intp)
    return Candidates(places, cells, logits, trusted(iou))


def trusted(iou: Floats) -> Floats:
    """Predicted IoU as numbers in 0..1; 0 where they are none, as broken weights may give."""
    return np.asarray(np.clip(np.nan_to_num(iou, nan=0.0), 0.0, 1.0), dtype=np.float32)


def select(candidates: Candidates, wanted: Filter) -> tuple[Proposal, ...]:
    """The masks that stay, by predicted IoU times stability, the best first. No decode."""
    count = candidates.iou.size
    logits = candidates.logits.reshape(count, *candidates.logits.shape[2:])
    iou = candidates.iou.reshape(count)
    stable = stability(logits, wanted.margin)
    area = (logits > 0).mean(axis=(1, 2))
    good = (iou >= wanted.min_iou) & (stable >= wanted.min_stability)
    good &= (area >= wanted.min_area) & (area <= wanted.max_area)
    order = np.flatnonzero(good)
    order = order[np.argsort(-(iou * stable)[order], kind="stable")]
    kept = [order[n] for n in distinct(logits[order] > 0, wanted.max_overlap, wanted.most)]
    points = np.repeat(candidates.points, candidates.iou.shape[1], axis=0).tolist()
    return tuple(
        Proposal(
            mask=logits[n] > 0,
            logits=logits[n][None],
            iou=float(iou[n]),
            stability=float(stable[n]),
            point=(points[n][0], points[n][1]),
        )
        for n in kept
    )


def stability(logits: Floats, margin: float = 1.0) -> Floats:
    """How little masks (N, h, w) change with the threshold, (N,) in 0..1.

    The area above a threshold of ``margin`` over that above -``margin``, which is their IoU, as
    one lies in the other; 0 for a mask that is empty at both.
    """
    inner = (logits > margin).sum(axis=(1, 2))
    outer = (logits > -margin).sum(axis=(1, 2))
    return np.asarray(inner / np.maximum(outer, 1), dtype=np.float32)


def distinct(masks: NDArray[np.bool_], max_overlap: float, most: int) -> list[int]:
    """Indices of masks (N, h, w), best first, that overlap no better one by more than an IoU.

    One product of a mask with all that are left for each that is kept.
    """
    flat = masks.reshape(len(masks), math.prod(masks.shape[1:])).astype(np.float32)
    area = flat.sum(axis=1)
    left = np.arange(len(flat))
    kept: list[int] = []
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(int(best))
        shared = flat[left] @ flat[best]
        overlap = shared / np.maximum(area[left] + area[best] - shared, 1.0)
        left = left[overlap <= max_overlap]
    return kept

"""How unsure a network is of an object: the spread of its answers to nearly the same question.

Two things are varied: the prompt, by a few pixels, as two annotators would (or the same one
twice), and the candidate masks that the network offers for each prompt. Each answer counts by the
network's own estimate of its IoU. A published alternative, several networks or dropout, costs a
multiple of the arithmetic, and the networks here have no dropout.

Per pixel it is the entropy of the mean probability in bits, 0 (sure) to 1 (evens). It is the sum
of the answers' own doubt and of their disagreement (Houlsby et al., Bayesian active learning for
classification and preference learning, 2011): high at blurred edges and where answers differ. As
one number it is 1 - agreement * trust. Agreement is the mean soft IoU of the answers with their
mean, which unlike a mean over pixels does not depend on an object's size; trust is their mean
predicted IoU.

Cost: `pixel_uncertainty`, `object_uncertainty` and `slice_uncertainty` decode nothing;
`click_uncertainty` decodes 1 + ``jitters`` prompts as rows of one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, xlogy

from lib.imaging.geometry import Frame
from lib.inference.decoder import Embedding, LowRes, PromptDecoder
from lib.inference.proposals import Candidates, Proposal, trusted
from lib.prompts.prompt import Box, Point, Prompt

JITTERS = 7
"""Prompts beside the one that was given; with it they fill a batch of eight."""
SPREAD = 4.0
"""Standard deviation of a moved point, in pixels of the network's 256 x 256 frame: between the
clicks of two people on the same small organ."""
CLOSE = 0.05
"""A candidate that the network rates lower than its best one by this counts 1/e of it. Candidates
are often a whole, a part and a part of that; those rated clearly lower say nothing of doubt."""
EPSILON = 1e-6

Floats = NDArray[np.float32]


class ClickUncertainty(NamedTuple):
    """Of one prompted object.

    Attributes:
        map: (H, W) float32 in 0..1, bits of entropy in each pixel of the image.
        value: 0..1 for the object as a whole.
    """

    map: Floats
    value: float


def mean_probability(logits: Floats, weights: Floats | None = None) -> Floats:
    """Weighted mean (h, w) of the probabilities of several answers (N, h, w).

    A logit that is no number, as broken weights may give, counts as evens.
    """
    mean = np.average(expit(np.nan_to_num(logits)), axis=0, weights=_safe(weights))
    return np.asarray(mean, dtype=np.float32)


def entropy(probability: Floats) -> Floats:
    """Bits of entropy, 0..1, of the probability of being inside; of the same shape."""
    p = probability.astype(np.float64)
    bits = -(xlogy(p, p) + xlogy(1 - p, 1 - p)) / np.log(2)
    return np.asarray(np.clip(bits, 0.0, 1.0), dtype=np.float32)


def pixel_uncertainty(logits: Floats, weights: Floats | None = None) -> Floats:
    """Bits of doubt (h, w) float32 in 0..1 about each pixel, from several answers (N, h, w).

    Args:
        logits: of N answers to nearly the same question.
        weights: (N,) not negative; equal where None, or where their sum is 0.
    """
    return entropy(mean_probability(logits, weights))


def object_uncertainty(logits: Floats, iou: Floats, weights: Floats | None = None) -> float:
    """1 - agreement * trust of N answers for one object, 0..1.

    Args:
        logits: (N, h, w).
        iou: (N,) predicted.
        weights: (N,) as for `pixel_uncertainty`.
    """
    weights = _safe(weights)
    p = expit(np.nan_to_num(logits).astype(np.float64))
    mean = np.average(p, axis=0, weights=weights)
    agreement = np.average(_soft_iou(p, mean), weights=weights)
    trust = np.average(trusted(iou), weights=weights)
    return float(np.clip(1.0 - agreement * trust, 0.0, 1.0))


def slice_uncertainty(candidates: Candidates, objects: Sequence[Proposal]) -> float:
    """Mean uncertainty of the objects of a slice, 0..1; 0 for a slice without any.

    Nothing further is decoded: the other clicks of the grid that lie on an object are the moved
    prompts, and the candidates of all of them its answers.

    Args:
        candidates: of clicks all over the slice, from `lib.inference.proposals.decode_points`.
        objects: what was found with them, from `lib.inference.proposals.select`.
    """
    if not objects:
        return 0.0
    weights = closeness(candidates.iou)
    values = [_uncertainty_of(found, candidates, weights) for found in objects]
    return float(np.mean(values))


def click_uncertainty(
    decoder: PromptDecoder,
    embedding: Embedding,
    prompt: Prompt,
    rng: np.random.Generator,
    jitters: int = JITTERS,
) -> ClickUncertainty:
    """How unsure the network is of a prompted object; 1 + ``jitters`` decodes in one batch.

    To be called on the worker.

    Args:
        decoder: of the network.
        embedding: of the image.
        prompt: in pixels of the image, as the decoder was given it. A mask in it, the answer of an
            earlier stage, is given to all.
        rng: moves points and corners.
        jitters: moved prompts.

    Raises:
        PromptError: the prompt does not lie on the image.
    """
    height, width = embedding.height, embedding.width
    frame = Frame(height, width, decoder.model.config.image_size)
    prompts = [prompt, *(jittered(prompt, frame, rng) for _ in range(jitters))]
    rows, iou = decoder.candidate_rows(embedding, prompts)
    weights = closeness(trusted(iou)).reshape(-1)
    logits, flat = rows.reshape(-1, *rows.shape[2:]), iou.reshape(-1)
    mean = np.clip(mean_probability(logits, weights), EPSILON, 1 - EPSILON)
    # The mean is enlarged, as masks are, and not its entropy, whose edges would be as wide as a
    # pixel of the network.
    large = decoder.enlarge(LowRes(logit(mean)[None].astype(np.float32), 0.0), height, width)
    value = object_uncertainty(logits, flat, weights)
    return ClickUncertainty(entropy(expit(large)), value)


def closeness(iou: Floats) -> Floats:
    """Weights (R, M) of the candidates of R prompts: predicted IoU, and how near to the best."""
    near = np.exp((iou - iou.max(axis=1, keepdims=True)) / CLOSE)
    return np.asarray(iou * near, dtype=np.float32)


def jittered(prompt: Prompt, frame: Frame, rng: np.random.Generator) -> Prompt:
    """The same prompt with points and corners moved by about `SPREAD` network pixels.

    Points stay on the image; a box stays a box that meets it.
    """
    last = np.array([frame.width - 1.0, frame.height - 1.0])

    def moved(points: Sequence[Point]) -> list[Point]:
        steps = frame.to_image(rng.normal(0.0, SPREAD, (len(points), 2)))
        places = np.clip(np.asarray(points) + steps, 0.0, last)
        return [(float(x), float(y)) for x, y in places]

    points = tuple(moved(prompt.points)) if prompt.points else ()
    box = prompt.box
    if box is not None:
        box = _box(moved([box[:2], box[2:]])) or box
    return replace(prompt, points=points, box=box)


def _box(corners: Sequence[Point]) -> Box | None:
    (x0, y0), (x1, y1) = corners
    return None if x0 == x1 or y0 == y1 else (x0, y0, x1, y1)


def _uncertainty_of(found: Proposal, candidates: Candidates, weights: Floats) -> float:
    """1 - agreement * trust of one object, 0..1.

    Agreement is the mean soft IoU of its mask with the candidates of all clicks that lie on it,
    trust its own predicted IoU.
    """
    inside = _on(found, candidates)
    logits, shares = candidates.logits[inside], _safe(weights[inside].reshape(-1))
    p = expit(np.nan_to_num(logits.reshape(-1, *logits.shape[2:])))
    overlap = _soft_iou(p, expit(np.nan_to_num(found.logits)))
    return float(np.clip(1.0 - np.average(overlap, weights=shares) * found.iou, 0.0, 1.0))


def _soft_iou(p: Floats, q: Floats) -> Floats:
    """IoU (N,) of probabilities (N, h, w) with others (h, w) or (1, h, w).

    The smaller of both is what they share, the larger one what they cover.
    """
    shared, covered = np.minimum(p, q).sum(axis=(1, 2)), np.maximum(p, q).sum(axis=(1, 2))
    return np.asarray(shared / np.maximum(covered, EPSILON))


def _on(found: Proposal, candidates: Candidates) -> NDArray[np.bool_]:
    """Which clicks (R,) lie on an object; the one that found it always counts."""
    own = (candidates.points == np.asarray(found.point)).all(axis=1)
    return np.asarray(own | found.mask[candidates.cells[:, 1], candidates.cells[:, 0]])


def _safe(weights: Floats | None) -> Floats | None:
    """Weights that `numpy.average` takes: None where they say nothing."""
    return weights if weights is not None and float(weights.sum()) > 0 else None

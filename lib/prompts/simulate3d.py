"""A simulated user in a volume: the first click and the next one, from a mask and its errors.

Two families, as in `lib.prompts.simulate`. ``published_*`` repeats the rules of SAM-Med3D (Wang et
al. 2023, arXiv:2310.15161; its training and inference code) number for number. ``interior_voxel``
and ``next_voxel`` are our own rule: clicks where a person would click.

Conventions: masks are (I, J, K) in the order of the array, every value but 0 is foreground. Points
are array indices (i, j, k). Labels: 1 foreground (missed so far), 0 background (wrongly covered so
far), -1 no click. Voxels that touch at a corner belong together (26-connected).

Random sources are the caller's; `LegacyRandom` (s) repeats the original's ``np.random.seed(s)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lib.errors import PromptError
from lib.prompts.simulate import BACKGROUND, FOREGROUND, IGNORED, LegacyRandom

Mask3D = NDArray[np.bool_]
Indices = NDArray[np.int64]

_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class Voxel:
    """One click: voxel (i, j, k) and its label (1 foreground, 0 background, -1 no click)."""

    i: int
    j: int
    k: int
    label: int

    @property
    def index(self) -> tuple[int, int, int]:
        """Where it is."""
        return self.i, self.j, self.k


NO_VOXEL = Voxel(0, 0, 0, IGNORED)
"""What `next_voxel` gives where nothing is wrong; the network ignores it."""


# --- our rule -----------------------------------------------------------------------------------


def interior_voxel(target: NDArray[Any], label: int = FOREGROUND) -> Voxel:
    """The innermost voxel of the largest part of ``target``: where a careful user clicks.

    Innermost is the greatest chessboard distance to what is outside; the edge of the array counts
    as outside. Among equals, the one nearest to their mean. No randomness.

    Raises:
        PromptError: the mask is empty or not three-dimensional.
    """
    found = _largest(_as_mask(target, "target"))
    if found is None:
        raise PromptError(
            got="an empty mask",
            allowed="a mask with at least one foreground voxel",
            todo="leave out objects that are not in this window",
        )
    return _innermost(found, label)


def next_voxel(predicted: NDArray[Any], target: NDArray[Any]) -> Voxel:
    """The click that corrects the worst mistake: `NO_VOXEL` where there is none.

    The worst mistake is the largest part of what was missed (label 1) or of what was wrongly
    covered (label 0); of equals, the missed one. No randomness.

    Args:
        predicted: (I, J, K).
        target: of the same shape.

    Raises:
        PromptError: the masks differ in shape or are not three-dimensional.
    """
    prediction, truth = _pair(predicted, target)
    missed, covered = _largest(truth & ~prediction), _largest(prediction & ~truth)
    if missed is None and covered is None:
        return NO_VOXEL
    if missed is not None and (covered is None or missed.size >= covered.size):
        return _innermost(missed, FOREGROUND)
    assert covered is not None
    return _innermost(covered, BACKGROUND)


def random_voxel(predicted: NDArray[Any], target: NDArray[Any], rng: np.random.Generator) -> Voxel:
    """A click somewhere on a mistake, uniform over all wrong voxels; `NO_VOXEL` where none is.

    Args:
        predicted: (I, J, K).
        target: of the same shape.
        rng: source of the choice.

    Raises:
        PromptError: the masks differ in shape or are not three-dimensional.
    """
    prediction, truth = _pair(predicted, target)
    wrong = np.flatnonzero(prediction != truth)
    if not len(wrong):
        return NO_VOXEL
    i, j, k = np.unravel_index(int(wrong[rng.integers(len(wrong))]), truth.shape)
    return Voxel(int(i), int(j), int(k), FOREGROUND if truth[i, j, k] else BACKGROUND)


# --- the rules of SAM-Med3D ---------------------------------------------------------------------


def published_training_click(
    predicted: NDArray[Any], target: NDArray[Any], random: LegacyRandom
) -> Voxel:
    """SAM-Med3D's click in training: uniform over all wrong voxels of one row.

    For a batch, call it row by row with the same ``random``. The original thresholds logits at 0.5
    before, and ends with an error where nothing is wrong; that is `NO_VOXEL` here, and draws
    nothing.

    Args:
        predicted: (I, J, K) mask.
        target: of the same shape.
        random: source of the choice.

    Raises:
        PromptError: the masks differ in shape or are not three-dimensional.
    """
    prediction, truth = _pair(predicted, target)
    wrong = np.argwhere(prediction != truth)
    return _drawn(wrong, truth, random) if len(wrong) else NO_VOXEL


def published_click(predicted: NDArray[Any], target: NDArray[Any], random: LegacyRandom) -> Voxel:
    """SAM-Med3D's click in inference: as in training; where nothing is wrong, in the object.

    So the first click, with nothing predicted, is uniform over the object.

    Args:
        predicted: (I, J, K) mask.
        target: of the same shape, not empty.
        random: source of the choice.

    Raises:
        PromptError: the masks differ in shape or are not three-dimensional, or there is no object.
    """
    prediction, truth = _pair(predicted, target)
    if not truth.any():
        raise PromptError(
            got="an empty target",
            allowed="an object to click on",
            todo="leave out objects that are not in this window",
        )
    wrong = np.argwhere(prediction != truth)
    return _drawn(wrong if len(wrong) else np.argwhere(truth), truth, random)


def published_deep_click(
    predicted: NDArray[Any], target: NDArray[Any], random: LegacyRandom
) -> Voxel:
    """SAM-Med3D's click "ritm": uniform over the deeper half of the deeper kind of mistake.

    Depth is the Euclidean distance to what is outside. Where nothing is wrong: the middle of the
    array, as background.

    Args:
        predicted: (I, J, K) mask.
        target: of the same shape.
        random: source of the choice.

    Raises:
        PromptError: the masks differ in shape or are not three-dimensional.
    """
    prediction, truth = _pair(predicted, target)
    missed, covered = (_depth(m) for m in (truth & ~prediction, prediction & ~truth))
    deeper = missed if missed.max() > covered.max() else covered
    inner = np.argwhere(deeper > deeper.max() / 2)
    if not len(inner):
        i, j, k = (side // 2 for side in truth.shape)
        return Voxel(i, j, k, BACKGROUND)
    return _drawn(inner, truth, random)


# --- shared -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """One connected part: its voxels in a crop, the crop's first index, and how many they are."""

    mask: Mask3D
    corner: tuple[int, int, int]
    size: int


def _largest(mask: Mask3D) -> _Part | None:
    """The largest part; of equals, the first in the order of the array. None: there is none."""
    spans = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not len(spans[0]):
        return None
    crop = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    labels, count = ndimage.label(mask[crop], structure=_NEIGHBOURS)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    best = int(np.argmax(sizes))
    inner = ndimage.find_objects(labels, max_label=count)[best]
    i, j, k = (c.start + s.start for c, s in zip(crop, inner, strict=True))
    return _Part(labels[inner] == best + 1, (i, j, k), int(sizes[best]))


def _innermost(part: _Part, label: int) -> Voxel:
    padded = np.pad(part.mask, 1)
    depth = ndimage.distance_transform_cdt(padded, metric="chessboard")[1:-1, 1:-1, 1:-1]
    deepest = np.argwhere(depth == depth.max())
    away = np.square(deepest - deepest.mean(axis=0)).sum(axis=1)
    i, j, k = deepest[int(np.argmin(away))] + part.corner
    return Voxel(int(i), int(j), int(k), label)


def _depth(mask: Mask3D) -> NDArray[np.float32]:
    """Euclidean distance of each foreground voxel to what is outside, 0 elsewhere."""
    padded = ndimage.distance_transform_edt(np.pad(mask, 1))
    return np.asarray(padded, dtype=np.float32)[1:-1, 1:-1, 1:-1]


def _drawn(voxels: Indices, truth: Mask3D, random: LegacyRandom) -> Voxel:
    """One of ``voxels`` (N, 3), with the label that the truth gives it."""
    i, j, k = (int(v) for v in voxels[random.randint(len(voxels))])
    return Voxel(i, j, k, FOREGROUND if truth[i, j, k] else BACKGROUND)


def _pair(predicted: NDArray[Any], target: NDArray[Any]) -> tuple[Mask3D, Mask3D]:
    prediction, truth = _as_mask(predicted, "predicted"), _as_mask(target, "target")
    if prediction.shape != truth.shape:
        raise PromptError(
            got=f"predicted {prediction.shape} and target {truth.shape}",
            allowed="two masks of the same shape",
            todo="bring both to the same grid before comparing them",
        )
    return prediction, truth


def _as_mask(mask: NDArray[Any], name: str) -> Mask3D:
    array = np.asarray(mask)
    if array.ndim != 3 or array.size == 0:
        raise PromptError(
            got=f"{name} of shape {array.shape}",
            allowed="a three-dimensional mask (i, j, k)",
            todo="pass the mask of one object in one volume",
        )
    return array if array.dtype == np.bool_ else array != 0

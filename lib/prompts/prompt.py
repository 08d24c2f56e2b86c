"""What an annotator shows of one object: points, a box, an earlier mask, in any combination."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from numpy.typing import NDArray

from lib.errors import PromptError

MAX_POINTS = 1000
"""More points than anybody clicks; a bound on what one request may cost."""

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Prompt:
    """The prompts of one object on one 2D image; checked when it is made.

    Attributes:
        points: (x, y) pixels of the image, x to the right, y downwards; (0, 0) is the centre of
            the first pixel.
        labels: one for each point, 1 inside the object (foreground), 0 outside (background).
        box: (x0, y0, x1, y1) around the object in the same pixels, or None. Corners may come in
            any order; they are sorted.
        mask: an earlier answer for the object, or None: probabilities in [0, 1] or low-resolution
            logits (any value outside of [0, 1] marks them as such), as (64, 64) or (1, 64, 64) of
            the network, or a mask (H, W) of the image.

    Raises:
        PromptError: nothing given at all, wrong shapes or types, values that are not finite.
    """

    points: tuple[Point, ...] = ()
    labels: tuple[int, ...] = ()
    box: Box | None = None
    mask: NDArray[np.generic] | None = None

    def __post_init__(self) -> None:
        """Bring every part to its one form, or refuse it."""
        object.__setattr__(self, "points", tuple(_point(p) for p in _sequence(self.points)))
        object.__setattr__(self, "labels", tuple(_label(v) for v in _sequence(self.labels)))
        if len(self.points) != len(self.labels):
            raise PromptError(
                got=f"{len(self.points)} points with {len(self.labels)} labels",
                allowed="one label (1 or 0) for each point",
                todo="send as many labels as points",
            )
        if len(self.points) > MAX_POINTS:
            raise PromptError(
                got=f"{len(self.points)} points",
                allowed=f"at most {MAX_POINTS}",
                todo="remove points that say the same",
            )
        if self.box is not None:
            object.__setattr__(self, "box", _box(self.box))
        if self.mask is not None:
            object.__setattr__(self, "mask", _mask(self.mask))
        if not self.points and self.box is None and self.mask is None:
            raise PromptError(
                got="no point, no box and no mask",
                allowed="at least one of them",
                todo="click on the object or draw a box around it",
            )

    def validate_for(self, height: int, width: int) -> None:
        """Check that the prompt lies on an image of ``height`` rows and ``width`` columns.

        Raises:
            PromptError: a point outside of the image, a box that misses it, or a mask that fits
                neither the image nor the network.
        """
        for x, y in self.points:
            if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
                raise PromptError(
                    got=f"point ({x:g}, {y:g})",
                    allowed=f"0 <= x <= {width - 1} and 0 <= y <= {height - 1}",
                    todo="click inside the image",
                )
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            if x1 <= -0.5 or y1 <= -0.5 or x0 >= width or y0 >= height:
                raise PromptError(
                    got=f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g})",
                    allowed=f"a box that meets 0 <= x <= {width} and 0 <= y <= {height}",
                    todo="draw the box on the image",
                )
        if self.mask is not None:
            shape = self.mask.shape
            if shape not in ((64, 64), (1, 64, 64), (height, width)):
                raise PromptError(
                    got=f"mask of shape {shape}",
                    allowed=f"(64, 64), (1, 64, 64) or the image's ({height}, {width})",
                    todo="pass the low-resolution answer or a mask of this image",
                )


def _sequence(values: object) -> Sequence[object]:
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise PromptError(
            got=f"{type(values).__name__} where a list should be",
            allowed="lists of points [x, y] and of labels",
            todo="send a list",
        )
    return values


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise PromptError(
            got=f"coordinate {value!r}",
            allowed="finite numbers",
            todo="send pixel positions as numbers",
        )
    return float(value)


def _point(value: object) -> Point:
    numbers = [_number(v) for v in _sequence(value)]
    if len(numbers) != 2:
        raise PromptError(
            got=f"a point with {len(numbers)} coordinates",
            allowed="two coordinates (x, y)",
            todo="send the position on the slice",
        )
    return numbers[0], numbers[1]


def _label(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value not in (0, 1):
        raise PromptError(
            got=f"point label {value!r}",
            allowed="1 (inside the object) or 0 (outside)",
            todo="correct the label",
        )
    return int(value)


def _box(value: object) -> Box:
    numbers = [_number(v) for v in _sequence(value)]
    if len(numbers) != 4:
        raise PromptError(
            got=f"a box with {len(numbers)} numbers",
            allowed="four numbers (x0, y0, x1, y1)",
            todo="send two opposite corners",
        )
    xs, ys = sorted(numbers[0::2]), sorted(numbers[1::2])
    if xs[0] == xs[1] or ys[0] == ys[1]:
        raise PromptError(
            got=f"a box without area {tuple(numbers)}",
            allowed="two different corners",
            todo="draw the box around the object",
        )
    return xs[0], ys[0], xs[1], ys[1]


def _mask(value: object) -> NDArray[np.generic]:
    mask = np.asarray(value)
    if mask.ndim not in (2, 3) or mask.dtype.kind not in "buif" or mask.size == 0:
        raise PromptError(
            got=f"mask of shape {mask.shape} and type {mask.dtype}",
            allowed="(64, 64), (1, 64, 64) or the image's (H, W), of numbers",
            todo="pass an earlier answer",
        )
    if not np.isfinite(mask).all():
        raise PromptError(
            got="a mask with NaN or infinite values",
            allowed="finite numbers",
            todo="pass an earlier answer",
        )
    return mask

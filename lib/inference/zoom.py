"""A second look at a small target, at the image's own resolution.

The network sees 256 x 256 pixels, and of a lesion of 12 pixels in a slice of 512 only 6 are left.
So where the first answer is small, a square around it is cut out of the image, encoded like any
other image, and asked again, with the first answer as mask prompt. It is taken if the network
rates its answer there at least as high (predicted IoU), so by that judgement no mask gets worse.

Which square, and whether it is taken, is decided by the first stage of a prompt alone (its box, or
its first point; see `lib.inference.chain`). Further points are answered in the square as long as
all of them lie in it, and in the whole image otherwise. So an answer still depends on image,
network and prompt alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.special import expit

from lib.inference.chain import ChainDecoder, stages
from lib.inference.decoder import LowRes, PromptDecoder
from lib.inference.embedder import Embedded, SliceEmbedder
from lib.inference.view import Crop, SliceView
from lib.prompts.components import bounding_box
from lib.prompts.prompt import Box, Prompt

SMALL = 64
"""Network pixels: a target whose longer side is shorter than this is looked at again ("auto")."""
MARGIN = 2.0
"""The square is so many times as long as the longer side of the target."""
SMALLEST = 96
"""Image pixels: a smaller square would be magnified beyond what the image shows."""
WORTH = 0.7
"""A square that covers more than this share of the image shows nothing new."""
OUTSIDE = np.float32(-20.0)
"""Logit of everything beyond the square: surely not the target."""


@dataclass(frozen=True)
class Zoomed:
    """An answer in a part of an image.

    Attributes:
        view: the part.
        image: its embedding.
        answer: of the network, in the frame of the part.
        seconds: spent in encoding it.
    """

    view: SliceView
    image: Embedded
    answer: LowRes
    seconds: float


@dataclass(frozen=True)
class Zoom:
    """Takes second looks with one network; shares its caches, and has no state of its own.

    Args:
        embedder: encodes the parts.
        decoder: of the network.
        chains: answers prompts stage by stage.
    """

    embedder: SliceEmbedder
    decoder: PromptDecoder
    chains: ChainDecoder

    def look(
        self, view: SliceView, image: Embedded, prompt: Prompt, multimask: bool, mode: str
    ) -> Zoomed | None:
        """Answer a prompt in a part of an image; None where the whole image is to be used.

        To be called on the worker: it may encode.

        Args:
            view: the whole image.
            image: its embedding.
            prompt: in pixels of the view.
            multimask: as for `PromptDecoder.decode`.
            mode: "auto" for small targets, "on" for all that fit, "off".
        """
        if mode == "off":
            return None
        first = stages(prompt)[0]
        seen = self.chains.answer(image, first, multimask)
        crop = self._crop(seen, first, view, mode)
        if crop is None or not _inside(prompt, crop):
            return None
        part = view.cropped(crop)
        start = _mask_in(seen, crop, view)
        begun = time.perf_counter()
        zoomed = self.embedder.embed(part)
        seconds = time.perf_counter() - begun
        better = self.chains.answer(zoomed, moved(first, crop, start), multimask)
        # NaN, which broken weights may give, is never better.
        if not better.iou >= seen.iou:
            return None
        answer = self.chains.answer(zoomed, moved(prompt, crop, start), multimask)
        return Zoomed(part, zoomed, answer, seconds)

    def _crop(self, seen: LowRes, first: Prompt, view: SliceView, mode: str) -> Crop | None:
        """The square for the target that the first stage showed, or None."""
        if view.crop is not None:
            return None
        size = self.decoder.model.config.image_size
        box = first.box
        if box is None:
            inside = self.decoder.enlarge(seen, size, size) > 0
            box = _region(inside, first, view)
        return crop_around(box, view.height, view.width, size if mode == "on" else SMALL, size)


def crop_around(
    box: Box, height: int, width: int, smaller_than: float, size: int = 256
) -> Crop | None:
    """A square part of an image around a target, or None where it shows nothing new.

    Args:
        box: (x0, y0, x1, y1) of the target in pixels of the image.
        height: rows of the image.
        width: its columns.
        smaller_than: network pixels; None for a target whose longer side is not shorter.
        size: edge of the network's frame.
    """
    x0, y0, x1, y1 = box
    if max((x1 - x0) * size / width, (y1 - y0) * size / height) >= smaller_than:
        return None
    side = int(np.ceil(max(MARGIN * max(x1 - x0, y1 - y0), SMALLEST)))
    wide, high = min(side, width), min(side, height)
    if wide * high > WORTH * width * height:
        return None
    left = int(np.clip(round((x0 + x1 - wide) / 2), 0, width - wide))
    top = int(np.clip(round((y0 + y1 - high) / 2), 0, height - high))
    return left, top, left + wide, top + high


def moved(prompt: Prompt, crop: Crop, start: NDArray[np.float32]) -> Prompt:
    """A prompt in pixels of a part of the image.

    Args:
        prompt: in pixels of the image.
        crop: the part.
        start: (64, 64) what is known of the target, in the frame of the part.
    """
    x0, y0 = crop[:2]
    box = prompt.box
    if box is not None:
        box = (box[0] - x0, box[1] - y0, box[2] - x0, box[3] - y0)
    points = tuple((x - x0, y - y0) for x, y in prompt.points)
    return replace(prompt, points=points, box=box, mask=start)


def pasted(logits: NDArray[np.float32], crop: Crop, height: int, width: int) -> NDArray[np.float32]:
    """Logits of a part of the image as logits (height, width) of all of it."""
    whole = np.full((height, width), OUTSIDE, dtype=np.float32)
    x0, y0, x1, y1 = crop
    whole[y0:y1, x0:x1] = logits
    return whole


def _region(inside: NDArray[np.bool_], first: Prompt, view: SliceView) -> Box:
    """Box in image pixels around a mask of the network's frame and the points of its prompt."""
    rows, columns = inside.shape
    boxes = [(x, y, x + 1.0, y + 1.0) for x, y in first.points]
    if inside.any():
        x0, y0, x1, y1 = bounding_box(inside)
        across, down = view.width / columns, view.height / rows
        boxes.append((x0 * across, y0 * down, x1 * across, y1 * down))
    if not boxes:  # a mask alone, and nothing found
        return 0.0, 0.0, float(view.width), float(view.height)
    lows, highs = np.min(boxes, axis=0), np.max(boxes, axis=0)
    return float(lows[0]), float(lows[1]), float(highs[2]), float(highs[3])


def _inside(prompt: Prompt, crop: Crop) -> bool:
    """Whether all points, and the box, lie in a part of the image."""
    x0, y0, x1, y1 = crop
    corners = [] if prompt.box is None else [prompt.box[:2], prompt.box[2:]]
    in_points = all(
        x0 - 0.5 <= x <= x1 - 0.5 and y0 - 0.5 <= y <= y1 - 0.5 for x, y in prompt.points
    )
    return in_points and all(x0 <= x <= x1 and y0 <= y <= y1 for x, y in corners)


def _mask_in(seen: LowRes, crop: Crop, view: SliceView) -> NDArray[np.float32]:
    """What was seen in the whole image as a mask prompt (64, 64) of probabilities of a part."""
    logits = seen.logits[0]
    side = len(logits)
    x0, y0, x1, y1 = crop
    centres = (np.arange(side) + 0.5) / side
    columns = (x0 + centres * (x1 - x0)) * side / view.width - 0.5
    rows = (y0 + centres * (y1 - y0)) * side / view.height - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    mask: NDArray[np.float32] = expit(map_coordinates(logits, grid, order=1, mode="nearest"))
    return mask

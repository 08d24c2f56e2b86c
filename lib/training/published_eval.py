"""SAM-Med2D's test script for one image and one mask, number for number.

Only for tables that must be comparable with the published ones; its quirks (channels in the order
in which the file was read, nearest-neighbour resizing, the rule for thresholds, metrics rounded to
four decimals) are kept.

* ``box``: the exact box of the largest part of the mask.
* ``1``: one random pixel of the object.
* more points, one after the other (``--iter_point``): a random pixel of the object, then each time
  one of what is wrong; points accumulate, and the last low-resolution answer goes along as
  probabilities.
* more points at once (``--point_num``): half of them on the object, the others beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from lib.imaging.geometry import PadFrame
from lib.networks.architectures import SAM_PIXEL_MEAN, SAM_PIXEL_STD
from lib.networks.sam import AdapterSam, PromptTensors, choose_best, upsample_logits
from lib.prompts.prompt import Prompt
from lib.prompts.simulate import (
    IGNORED,
    FloatArray,
    LabelArray,
    LegacyRandom,
    published_boxes,
    published_first_points,
    published_mask_prompt,
    published_next_points,
)
from lib.training.baselines import ask_without_network
from lib.training.evaluate import BOX, Answer, Plan
from lib.training.losses import published_loss
from lib.training.metrics import published_binary, published_dice, published_iou

Mask = NDArray[np.bool_]

DIGITS = 4


@dataclass(frozen=True)
class PublishedCase:
    """What the test script computes for one mask prompted by its box.

    Attributes:
        net_input: (1, 3, S, S) float32; net_mask: (S, S) 0/1; box: (1, 4) in network pixels.
        low_res: (1, 1, 64, 64) logits of the best candidate; predicted_iou: (1, 1).
        logits: (1, 1, H, W) on the image's own grid.
        iou, dice: against the mask on the image's own grid.
        loss: the training loss at the same place.
    """

    net_input: NDArray[np.float32]
    net_mask: NDArray[np.uint8]
    box: NDArray[np.float32]
    low_res: NDArray[np.float32]
    predicted_iou: NDArray[np.float32]
    logits: NDArray[np.float32]
    iou: float
    dice: float
    loss: float


@dataclass(frozen=True, eq=False)
class NetPrompt:
    """A prompt in pixels of the network's frame.

    Attributes:
        points: (N, 2) x, y; or None.
        labels: (N,) of them: 1, 0, or -1 for none.
        box: (1, 4), or None.
        low_res: (1, 1, 64, 64) logits of the answer before, or None.
    """

    points: FloatArray | None = None
    labels: LabelArray | None = None
    box: FloatArray | None = None
    low_res: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class NetAnswer:
    """What answers a `NetPrompt`.

    Attributes:
        low_res: (1, 1, 64, 64) logits.
        predicted_iou: (1, 1).
        net_mask: (S, S) in the network's frame.
        logits: (1, 1, H, W) on the image's own grid.
    """

    low_res: FloatArray
    predicted_iou: FloatArray
    net_mask: Mask
    logits: FloatArray


Decode = Callable[[NetPrompt], NetAnswer]


class PublishedImage:
    """An image, encoded once, that answers prompts as in the test script.

    Args:
        model: any adapter-SAM.
        image: (H, W, 3) with the channels in the order the original reads them (BGR).
        encode: of the network, (1, 3, S, S) -> its embedding; None for the model's own.
    """

    def __init__(
        self,
        model: AdapterSam,
        image: NDArray[np.uint8],
        encode: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.frame = PadFrame(image.shape[0], image.shape[1], model.config.image_size)
        normalised = (image - np.array(SAM_PIXEL_MEAN)) / np.array(SAM_PIXEL_STD)
        framed = np.asarray(self.frame.fit(normalised), dtype=np.float32)
        self.net_input = np.ascontiguousarray(framed.transpose(2, 0, 1)[None])
        self._model = model
        self._device = model.pixel_mean.device
        with torch.inference_mode():
            pixels = torch.from_numpy(self.net_input).to(self._device)
            self._embedding = (encode or model.encode)(pixels)

    def net_mask(self, mask: NDArray[np.uint8] | Mask) -> NDArray[np.uint8]:
        """A mask (H, W) in the network's frame."""
        return np.asarray(self.frame.fit((mask > 0).astype(np.uint8)), dtype=np.uint8)

    @torch.inference_mode()
    def decode(self, prompt: NetPrompt) -> NetAnswer:
        """The best of three candidates."""
        tensors = PromptTensors(
            points=_row(prompt.points),
            labels=_row(prompt.labels),
            boxes=None if prompt.box is None else torch.from_numpy(prompt.box),
            masks=None
            if prompt.low_res is None
            else torch.from_numpy(published_mask_prompt(prompt.low_res)),
        ).to(self._device)
        answer = self._model.decode(self._embedding, tensors, multimask=True)
        low_res, predicted_iou = (part.float().cpu() for part in choose_best(*answer))
        full = upsample_logits(low_res, (self.frame.size, self.frame.size))
        return NetAnswer(
            low_res=low_res.numpy(),
            predicted_iou=predicted_iou.numpy(),
            net_mask=np.asarray(full[0, 0].numpy() > 0),
            logits=_to_image(full, self.frame).numpy(),
        )


def evaluate_published(
    model: AdapterSam, image: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> PublishedCase:
    """Prompt a network with the exact box of a mask and score the answer (SAM-Med2D, test.py).

    Args:
        model: any adapter-SAM.
        image: (H, W, 3) with the channels in the order the original reads them (BGR).
        mask: (H, W) with values 0 and 1 (or 0 and 255).

    Raises:
        PromptError: the mask is empty at the network's resolution.
    """
    opened = PublishedImage(model, image)
    net_mask = opened.net_mask(mask)
    box = published_boxes(net_mask)
    answer = opened.decode(NetPrompt(box=box))
    target = (mask > 0)[None, None].astype(np.float32)
    logits, truth = torch.from_numpy(answer.logits), torch.from_numpy(target)
    loss = published_loss(logits, truth, torch.from_numpy(answer.predicted_iou))
    return PublishedCase(
        net_input=opened.net_input,
        net_mask=net_mask,
        box=box,
        low_res=answer.low_res,
        predicted_iou=answer.predicted_iou,
        logits=answer.logits,
        iou=float(published_iou(answer.logits, target)[0]),
        dice=float(published_dice(answer.logits, target)[0]),
        loss=float(loss.total),
    )


def annotate_published(
    decode: Decode,
    frame: PadFrame,
    target: Mask,
    plan: Plan,
    random: LegacyRandom,
    at_once: bool = False,
) -> dict[str, Answer]:
    """Prompt for one object in all ways of a plan, and score as the test script does.

    Args:
        decode: answers prompts on the image.
        frame: of the image.
        target: (H, W).
        plan: what to try; every name starts anew.
        random: of the points.
        at_once: give several points together, instead of one after the other.

    Returns:
        An answer for each name of the plan; Dice and IoU have four decimals.

    Raises:
        PromptError: the target is empty at the network's resolution.
    """
    net_mask = np.asarray(frame.fit(target.astype(np.uint8))) > 0
    answers = {}
    for name in plan.names:
        begun = time.perf_counter()
        if name == BOX:
            prompt = NetPrompt(box=published_boxes(net_mask))
            answer = decode(prompt)
        elif at_once:
            prompt = NetPrompt(*published_first_points(net_mask, random, int(name)))
            answer = decode(prompt)
        else:
            prompt, answer = _one_by_one(decode, net_mask, int(name), random)
        seconds = time.perf_counter() - begun
        answers[name] = _scored(_to_prompt(prompt, frame), answer, target, seconds)
    return answers


def decode_without_network(image8: NDArray[np.uint8], frame: PadFrame) -> Decode:
    """The baselines without network (`lib.training.baselines`) under the same prompts.

    Args:
        image8: (H, W, 3) or (H, W).
        frame: of the image.
    """
    ask = ask_without_network(np.asarray(frame.fit(image8), dtype=np.uint8))
    nothing = np.zeros((1, 1, 1, 1), dtype=np.float32)

    def decode(prompt: NetPrompt) -> NetAnswer:
        mask = ask(_given(prompt)).prediction.mask
        full = np.where(mask, np.float32(1), np.float32(-1))[None, None]
        logits = _to_image(torch.from_numpy(full), frame).numpy()
        return NetAnswer(nothing, nothing[0, 0], mask, logits)

    return decode


def _one_by_one(
    decode: Decode, net_mask: Mask, count: int, random: LegacyRandom
) -> tuple[NetPrompt, NetAnswer]:
    points, labels = published_first_points(net_mask, random)
    prompt = NetPrompt(points, labels)
    answer = decode(prompt)
    for _ in range(count - 1):
        more, kinds = published_next_points(answer.net_mask, net_mask, random)
        points, labels = np.concatenate([points, more]), np.concatenate([labels, kinds])
        prompt = NetPrompt(points, labels, low_res=answer.low_res)
        answer = decode(prompt)
    return prompt, answer


def _scored(prompt: Prompt, answer: NetAnswer, target: Mask, seconds: float) -> Answer:
    truth = target[None, None].astype(np.float32)
    return Answer(
        prompt=prompt,
        mask=published_binary(answer.logits)[0, 0],
        dice=round(float(published_dice(answer.logits, truth)[0]), DIGITS),
        iou=round(float(published_iou(answer.logits, truth)[0]), DIGITS),
        seconds=seconds,
        zoomed=False,
    )


def _given(prompt: NetPrompt) -> Prompt:
    """What a person would call the prompt, in the frame: without points that say nothing."""
    kept: list[tuple[tuple[float, float], int]] = []
    if prompt.points is not None and prompt.labels is not None:
        pairs = zip(prompt.points.tolist(), prompt.labels.tolist(), strict=True)
        kept = [((x, y), label) for (x, y), label in pairs if label != IGNORED]
    box = None
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box[0].tolist()
        box = (x0, y0, x1, y1)
    return Prompt(tuple(point for point, _ in kept), tuple(label for _, label in kept), box)


def _to_prompt(prompt: NetPrompt, frame: PadFrame) -> Prompt:
    """The same in pixels of the image."""
    given = _given(prompt)
    points = tuple((float(x), float(y)) for x, y in map(frame.to_image, given.points))
    if given.box is None:
        return replace(given, points=points)
    x0, y0, x1, y1 = (float(value) for value in frame.to_image(given.box))
    return replace(given, points=points, box=(x0, y0, x1, y1))


def _row(values: NDArray[np.generic] | None) -> torch.Tensor | None:
    return None if values is None else torch.from_numpy(values)[None]


def _to_image(full: torch.Tensor, frame: PadFrame) -> torch.Tensor:
    """Logits (1, 1, S, S) on the image's own grid: cut out of the padding, or interpolated."""
    if frame.pads:
        rows = slice(frame.top, frame.top + frame.height)
        columns = slice(frame.left, frame.left + frame.width)
        return full[:, :, rows, columns]
    return upsample_logits(full, (frame.height, frame.width))

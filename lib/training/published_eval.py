"""SAM-Med2D's test script for one image and one mask, number for number.

Only for tables that must be comparable with the published ones; its quirks (channels in the order
in which the file was read, nearest-neighbour resizing, the rule for thresholds) are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lib.imaging.geometry import PadFrame
from lib.networks.architectures import SAM_PIXEL_MEAN, SAM_PIXEL_STD
from lib.networks.sam import AdapterSam, PromptTensors, choose_best, upsample_logits
from lib.prompts.simulate import published_boxes
from lib.training.losses import published_loss
from lib.training.metrics import published_dice, published_iou


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


@torch.inference_mode()
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
    size = model.config.image_size
    frame = PadFrame(mask.shape[0], mask.shape[1], size)
    truth = (mask > 0).astype(np.uint8)
    normalised = (image - np.array(SAM_PIXEL_MEAN)) / np.array(SAM_PIXEL_STD)
    framed = np.asarray(frame.fit(normalised), dtype=np.float32)
    net_input = np.ascontiguousarray(framed.transpose(2, 0, 1)[None])
    net_mask = np.asarray(frame.fit(truth), dtype=np.uint8)
    box = published_boxes(net_mask)

    embedding = model.encode(torch.from_numpy(net_input))
    prompts = PromptTensors(boxes=torch.from_numpy(box))
    low_res, predicted_iou = choose_best(*model.decode(embedding, prompts, multimask=True))
    logits = _to_image(low_res, frame)
    target = truth[None, None].astype(np.float32)
    loss = published_loss(logits, torch.from_numpy(target), predicted_iou)
    answer = logits.numpy()
    return PublishedCase(
        net_input=net_input,
        net_mask=net_mask,
        box=box,
        low_res=low_res.numpy(),
        predicted_iou=predicted_iou.numpy(),
        logits=answer,
        iou=float(published_iou(answer, target)[0]),
        dice=float(published_dice(answer, target)[0]),
        loss=float(loss.total),
    )


def _to_image(low_res: torch.Tensor, frame: PadFrame) -> torch.Tensor:
    """Logits (1, 1, 64, 64) on the image's own grid: cut out of the padding, or interpolated."""
    full = upsample_logits(low_res, (frame.size, frame.size))
    if frame.pads:
        rows = slice(frame.top, frame.top + frame.height)
        columns = slice(frame.left, frame.left + frame.width)
        return full[:, :, rows, columns]
    return upsample_logits(full, (frame.height, frame.width))

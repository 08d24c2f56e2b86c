"""From an encoded image and prompts to low-resolution masks, and from those to the image. Cheap.

Everything here is a function of its arguments and of the network: no current image, no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lib.imaging.geometry import Frame, resize_image
from lib.networks.sam import AdapterSam, PromptTensors, upsample_logits
from lib.prompts.prompt import Prompt


@dataclass(frozen=True)
class Embedding:
    """An encoded image: (1, C, h, w) float32, and the size of the image it belongs to."""

    tensor: torch.Tensor
    height: int
    width: int

    @property
    def nbytes(self) -> int:
        """Bytes of memory it takes."""
        return self.tensor.numel() * self.tensor.element_size()


@dataclass(frozen=True)
class LowRes:
    """The network's own answer for one object, before it is brought to the image's size.

    Attributes:
        logits: (1, 64, 64) float32; positive inside. A mask prompt for the next step.
        iou: the network's own estimate of its IoU with the object, about 0..1.
    """

    logits: NDArray[np.float32]
    iou: float

    @property
    def nbytes(self) -> int:
        """Bytes of memory it takes."""
        return self.logits.nbytes


class PromptDecoder:
    """Prompt encoder and mask decoder of one network.

    Args:
        model: on ``device``, in evaluation mode.
        device: where embeddings lie.
    """

    def __init__(self, model: AdapterSam, device: torch.device) -> None:
        self.model = model
        self.device = device

    @torch.inference_mode()
    def decode(
        self, embedding: Embedding, prompts: Sequence[Prompt], multimask: bool = True
    ) -> list[LowRes]:
        """Segment several objects of one image, in the order of the prompts.

        Prompts of the same form (as many points, box or none, mask or none) are decoded together
        as rows of one batch; every row chooses its own best mask. Rows of different form are not
        padded to one shape, so that each object gets the answer it would get alone.

        Args:
            embedding: of the image.
            prompts: in pixels of the image.
            multimask: let the network propose several masks and take the one it rates best.

        Raises:
            PromptError: a prompt does not lie on the image.
        """
        for prompt in prompts:
            prompt.validate_for(embedding.height, embedding.width)
        forms: dict[tuple[int, bool, bool], list[int]] = {}
        for index, prompt in enumerate(prompts):
            form = (len(prompt.points), prompt.box is not None, prompt.mask is not None)
            forms.setdefault(form, []).append(index)
        answers: dict[int, LowRes] = {}
        for indices in forms.values():
            rows = self._decode_form([prompts[i] for i in indices], embedding, multimask)
            answers.update(zip(indices, rows, strict=True))
        return [answers[i] for i in range(len(prompts))]

    @torch.inference_mode()
    def candidates(self, embedding: Embedding, prompt: Prompt) -> list[LowRes]:
        """All masks among which `decode` with ``multimask`` would choose, three or four.

        Args:
            embedding: of the image.
            prompt: in pixels of the image.

        Raises:
            PromptError: the prompt does not lie on the image.
        """
        logits, iou = self.candidate_rows(embedding, [prompt])
        return [LowRes(logits[0, m : m + 1], float(iou[0, m])) for m in range(logits.shape[1])]

    @torch.inference_mode()
    def candidate_rows(
        self, embedding: Embedding, prompts: Sequence[Prompt]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As `candidates` for R prompts of one form, decoded together as R rows of one batch.

        Args:
            embedding: of the image.
            prompts: in pixels of the image; all with as many points, with a box or none, with a
                mask or none.

        Returns:
            Logits (R, M, 64, 64) and predicted IoU (R, M), M candidates of each prompt.

        Raises:
            PromptError: a prompt does not lie on the image.
        """
        for prompt in prompts:
            prompt.validate_for(embedding.height, embedding.width)
        logits, iou = self._decode_masks(prompts, embedding, multimask=True)
        return logits.float().cpu().numpy(), iou.float().cpu().numpy()

    @torch.inference_mode()
    def enlarge(self, answer: LowRes, height: int, width: int) -> NDArray[np.float32]:
        """Logits (height, width) of an answer, by two bilinear steps as SAM-Med2D takes them.

        First to the network's square frame, then to the image.
        """
        size = self.model.config.image_size
        low_res = torch.from_numpy(answer.logits)[None].to(self.device)
        full = upsample_logits(upsample_logits(low_res, (size, size)), (height, width))
        logits: NDArray[np.float32] = full[0, 0].cpu().numpy()
        return logits

    def _decode_form(
        self, prompts: Sequence[Prompt], embedding: Embedding, multimask: bool
    ) -> list[LowRes]:
        low_res, iou = self.model.shown(*self._decode_masks(prompts, embedding, multimask))
        rows = low_res.cpu().numpy()
        return [LowRes(rows[r], float(iou[r, 0])) for r in range(len(prompts))]

    def _decode_masks(
        self, prompts: Sequence[Prompt], embedding: Embedding, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (R, M, 64, 64) and predicted IoU (R, M) of R prompts of one form."""
        config = self.model.config
        frame = Frame(embedding.height, embedding.width, config.image_size)
        tensors = prompt_tensors(prompts, frame).to(self.device)
        if multimask and config.rate_all_masks:
            return self.model.decode_all(embedding.tensor, tensors)
        return self.model.decode(embedding.tensor, tensors, multimask)


def prompt_tensors(prompts: Sequence[Prompt], frame: Frame) -> PromptTensors:
    """Prompts of one form (see `PromptDecoder.decode`) as tensors in network coordinates."""
    first = prompts[0]
    points = labels = boxes = masks = None
    if first.points:
        points = torch.tensor(
            np.stack([frame.to_network(p.points) for p in prompts]), dtype=torch.float32
        )
        labels = torch.tensor([p.labels for p in prompts])
    if first.box is not None:
        boxes = torch.tensor(
            np.stack([frame.to_network(p.box) for p in prompts if p.box]), dtype=torch.float32
        )
    if first.mask is not None:
        size = frame.size // 4
        rows = [mask_prompt(p.mask, size) for p in prompts if p.mask is not None]
        masks = torch.from_numpy(np.stack(rows))
    return PromptTensors(points, labels, boxes, masks)


def mask_prompt(mask: NDArray[np.generic], size: int = 64) -> NDArray[np.float32]:
    """A mask prompt (1, size, size) of probabilities, from any form `Prompt.mask` may have.

    The published networks were trained with sigmoid(logits) as mask prompt (SAM-Med2D; vanilla
    SAM takes logits), so logits, known by values outside of [0, 1], go through the sigmoid.
    """
    values = np.asarray(mask, dtype=np.float32).reshape(mask.shape[-2:])
    if values.min() < 0 or values.max() > 1:
        values = np.float32(1) / (np.float32(1) + np.exp(-values.clip(-60, 60)))
    if values.shape != (size, size):
        grey = np.rint(values * 255).astype(np.uint8)
        values = resize_image(grey, size, mode="area").astype(np.float32) / np.float32(255)
    return values[None]

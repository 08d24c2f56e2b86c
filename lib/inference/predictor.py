"""Masks from prompts on one 2D image: `set_image` is dear, `predict` is cheap.

A predictor holds one image at a time and is not thread-safe; `lib.inference.segmenter` shares one
between requests. Everything outside is in pixels of the image as it came; the change to the
network's 256 x 256 frame and back happens here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lib.errors import PromptError
from lib.imaging.geometry import Frame, resize_image
from lib.imaging.intensity import normalise_slice
from lib.networks.backends import Encoder, choose_device, make_encoder
from lib.networks.sam import AdapterSam, PromptTensors, choose_best, upsample_logits
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
class Prediction:
    """The answer for one object.

    Attributes:
        mask: (H, W) bool on the image's own grid.
        logits: (H, W) float32; positive inside.
        iou: the network's own estimate of its IoU with the object, about 0..1.
        low_res: (1, 64, 64) float32 logits of the network; a mask prompt for the next call.
    """

    mask: NDArray[np.bool_]
    logits: NDArray[np.float32]
    iou: float
    low_res: NDArray[np.float32]


class Predictor:
    """Promptable segmentation of 2D images with one network.

    Args:
        model: from `lib.networks.build_model`; moved to ``device``.
        backend: of the image encoder, see `lib.networks.backends`.
        precision: of the image encoder.
        device: "auto", "cpu" or "cuda".

    Raises:
        OptionError: backend, precision or device that is not available.
    """

    def __init__(
        self,
        model: AdapterSam,
        backend: str = "torch",
        precision: str = "fp32",
        device: str = "cpu",
    ) -> None:
        self.device = choose_device(device)
        self.model = model.to(self.device).eval()
        self._encoder: Encoder = make_encoder(self.model, backend, precision)
        self._embedding: Embedding | None = None

    @property
    def backend_name(self) -> str:
        """What encodes images: "torch fp32"."""
        return self._encoder.backend_name

    @property
    def device_name(self) -> str:
        """Where it runs: "cpu", or the name of the CUDA device."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return self.device.type

    def set_image(
        self,
        image: NDArray[np.generic],
        intensity: str | None = None,
        modality: str | None = None,
        body_part: str | None = None,
    ) -> None:
        """Encode an image for the calls of `predict` that follow. Dear.

        Args:
            image: (H, W) or (H, W, 3), native intensities (HU, MR counts, 8 bit RGB, ...).
            intensity: how they become 8 bit, see `lib.imaging.intensity`; None takes what the
                architecture was trained with.
            modality: DICOM Modality, None where unknown.
            body_part: DICOM BodyPartExamined, None where unknown.

        Raises:
            ImageError: an array that is no image.
        """
        wanted = self.model.config.intensity if intensity is None else intensity
        self.set_embedding(self.encode(normalise_slice(image, wanted, modality, body_part)))

    def encode(self, image8: NDArray[np.uint8]) -> Embedding:
        """Encode an 8 bit RGB image (H, W, 3) without keeping it. Dear."""
        height, width = image8.shape[:2]
        config = self.model.config
        resized = resize_image(image8, config.image_size, mode=config.resize)
        pixels = torch.from_numpy(np.ascontiguousarray(resized)).to(self.device)
        images = self.model.normalise(pixels.permute(2, 0, 1)[None].float())
        return Embedding(self._encoder.encode(images), height, width)

    def set_embedding(self, embedding: Embedding) -> None:
        """Go on with an image that was encoded before. Cheap."""
        self._embedding = embedding

    def predict(self, prompt: Prompt, multimask: bool = True) -> Prediction:
        """Segment one object of the current image. Cheap.

        Args:
            prompt: points, box and mask in pixels of the image.
            multimask: let the network propose several masks and take the one it rates best.

        Raises:
            PromptError: the prompt does not lie on the image, or no image was set.
        """
        return self.predict_batch([prompt], multimask)[0]

    @torch.inference_mode()
    def predict_batch(self, prompts: Sequence[Prompt], multimask: bool = True) -> list[Prediction]:
        """Segment several objects of the current image, in the order of the prompts.

        Prompts of the same form (as many points, box or none, mask or none) are decoded together
        as rows of one batch; every row chooses its own best mask. Rows of different form are not
        padded to one shape, so that each object gets the answer it would get alone.

        Raises:
            PromptError: a prompt does not lie on the image, or no image was set.
        """
        if self._embedding is None:
            raise PromptError(
                got="a prompt before any image", allowed="set_image first", todo="set the image"
            )
        embedding = self._embedding
        for prompt in prompts:
            prompt.validate_for(embedding.height, embedding.width)
        groups: dict[tuple[int, bool, bool], list[int]] = {}
        for index, prompt in enumerate(prompts):
            form = (len(prompt.points), prompt.box is not None, prompt.mask is not None)
            groups.setdefault(form, []).append(index)
        answers: dict[int, Prediction] = {}
        for indices in groups.values():
            rows = self._decode([prompts[i] for i in indices], embedding, multimask)
            answers.update(zip(indices, rows, strict=True))
        return [answers[i] for i in range(len(prompts))]

    def _decode(
        self, prompts: Sequence[Prompt], embedding: Embedding, multimask: bool
    ) -> list[Prediction]:
        """Decode prompts of one form as rows of one batch."""
        tensors = prompt_tensors(
            prompts, Frame(embedding.height, embedding.width, self.model.config.image_size)
        )
        tensors = _to(tensors, self.device)
        if multimask and self.model.config.rate_all_masks:
            logits, iou = self.model.decode_all(embedding.tensor, tensors)
        else:
            logits, iou = self.model.decode(embedding.tensor, tensors, multimask)
        low_res, best_iou = choose_best(logits, iou)
        # Two bilinear steps, as SAM-Med2D does: to the network's frame, then to the image.
        size = self.model.config.image_size
        full = upsample_logits(
            upsample_logits(low_res, (size, size)), (embedding.height, embedding.width)
        )
        full_array, low_array = full[:, 0].cpu().numpy(), low_res.cpu().numpy()
        return [
            Prediction(full_array[r] > 0, full_array[r], float(best_iou[r, 0]), low_array[r])
            for r in range(len(prompts))
        ]


def prompt_tensors(prompts: Sequence[Prompt], frame: Frame) -> PromptTensors:
    """Prompts of one form (see `Predictor.predict_batch`) as tensors in network coordinates."""
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


def _to(tensors: PromptTensors, device: torch.device) -> PromptTensors:
    """The same prompts on another device."""
    return PromptTensors(
        *(
            None if t is None else t.to(device)
            for t in (tensors.points, tensors.labels, tensors.boxes, tensors.masks)
        )
    )

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
from lib.imaging.intensity import normalise_slice
from lib.inference.decoder import Embedding, PromptDecoder
from lib.inference.embedder import prepare_image
from lib.networks.backends import Encoder, choose_device, make_encoder
from lib.networks.sam import AdapterSam
from lib.prompts.prompt import Prompt


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
        self.encoder: Encoder = make_encoder(self.model, backend, precision)
        self.decoder = PromptDecoder(self.model, self.device)
        self._embedding: Embedding | None = None

    @property
    def backend_name(self) -> str:
        """What encodes images: "torch fp32"."""
        return self.encoder.backend_name

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
        return Embedding(self.encoder.encode(prepare_image(self.model, image8)), height, width)

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

    def predict_batch(self, prompts: Sequence[Prompt], multimask: bool = True) -> list[Prediction]:
        """Segment several objects of the current image; see `PromptDecoder.decode`.

        Raises:
            PromptError: a prompt does not lie on the image, or no image was set.
        """
        if self._embedding is None:
            raise PromptError(
                got="a prompt before any image", allowed="set_image first", todo="set the image"
            )
        embedding = self._embedding
        answers = []
        for row in self.decoder.decode(embedding, prompts, multimask):
            logits = self.decoder.enlarge(row, embedding.height, embedding.width)
            answers.append(Prediction(logits > 0, logits, row.iou, row.logits))
        return answers

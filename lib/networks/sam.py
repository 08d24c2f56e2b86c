"""Assembly of an adapter-SAM from the parts of the ``segment-anything`` package."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import nn
from torch.nn import functional

from lib.networks.architectures import SAM_PIXEL_MEAN, SAM_PIXEL_STD, Architecture
from lib.networks.detail_decoder import DetailMaskDecoder
from lib.networks.encoder import build_image_encoder
from lib.networks.fast_decoder import predict_masks
from lib.networks.prompt_adapter import AdaptedTwoWay
from lib.networks.prompt_maps import MapPromptEncoder
from lib.networks.stem import unpack


@dataclass(frozen=True)
class PromptTensors:
    """One batch of prompts in network coordinates, R rows (objects) of the same kind.

    Attributes:
        points: (R, N, 2) float (x, y) in pixels of the network's square image, or None.
        labels: (R, N) 1 foreground, 0 background, -1 padding; None together with points.
        boxes: (R, 4) float (x0, y0, x1, y1), or None.
        masks: (R, 1, L, L) float probabilities in [0, 1] with L = 64, or None.
    """

    points: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    boxes: torch.Tensor | None = None
    masks: torch.Tensor | None = None

    def to(self, device: torch.device) -> PromptTensors:
        """The same prompts on a device."""
        return PromptTensors(*(None if part is None else part.to(device) for part in self.parts))

    @property
    def parts(self) -> tuple[torch.Tensor | None, ...]:
        """Points, labels, boxes and masks."""
        return self.points, self.labels, self.boxes, self.masks


class AdapterSam(nn.Module):
    """SAM at 256 x 256 with adapters: image encoder, prompt encoder, mask decoder.

    `encode` is dear (nearly all of the arithmetic), `decode` is cheap. The three submodules
    carry the names of the published state dict.
    """

    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.config = architecture
        grid = (architecture.grid_size, architecture.grid_size)
        self.image_encoder = build_image_encoder(architecture)
        detailed = architecture.detail_channels > 0
        self.prompt_encoder = (MapPromptEncoder if detailed else PromptEncoder)(
            embed_dim=architecture.prompt_dim,
            image_embedding_size=grid,
            input_image_size=(architecture.image_size, architecture.image_size),
            mask_in_chans=architecture.mask_channels,
        )
        decoder = (
            partial(DetailMaskDecoder, architecture.detail_channels) if detailed else MaskDecoder
        )
        self.mask_decoder = decoder(
            transformer_dim=architecture.prompt_dim,
            transformer=_two_way(architecture),
            num_multimask_outputs=architecture.multimask_outputs,
            iou_head_depth=architecture.iou_head_depth,
            iou_head_hidden_dim=architecture.iou_hidden_dim,
        )
        for name, values in (("pixel_mean", SAM_PIXEL_MEAN), ("pixel_std", SAM_PIXEL_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Map 8 bit RGB values (B, 3, S, S) in 0..255 to the network's input."""
        return (images - self.pixel_mean) / self.pixel_std

    def blank(self) -> torch.Tensor:
        """An empty image as `encode` takes it, (1, 3, S, S), on the network's device."""
        size = self.config.image_size
        return torch.zeros(1, 3, size, size, device=self.pixel_mean.device)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Embed normalised images (B, 3, S, S) as (B, embedding_channels, S/16, S/16). Dear."""
        embeddings: torch.Tensor = self.image_encoder(images)
        return embeddings

    def decode(
        self, embeddings: torch.Tensor, prompts: PromptTensors, multimask: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict masks for R rows of prompts. Cheap.

        Args:
            embeddings: (1, C, h, w), shared by all rows, or (R, C, h, w), one for each row.
            prompts: R rows of prompts in network coordinates.
            multimask: three candidates a row instead of one.

        Returns:
            Logits (R, 3 or 1, 4h, 4w) and predicted IoU (R, 3 or 1).
        """
        logits, iou = self.decode_all(embeddings, prompts)
        kept = slice(1, None) if multimask else slice(0, 1)
        return logits[:, kept], iou[:, kept]

    def decode_all(
        self, embeddings: torch.Tensor, prompts: PromptTensors
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All four masks of the decoder: SAM's single answer first, then the three candidates.

        Args:
            embeddings: as for `decode`.
            prompts: as for `decode`.

        Returns:
            Logits (R, 4, 4h, 4w) and predicted IoU (R, 4).
        """
        points = None if prompts.points is None else (prompts.points, prompts.labels)
        sparse, dense = self.prompt_encoder(points, prompts.boxes, prompts.masks)
        positions = self.prompt_encoder.get_dense_pe()
        refine = rate = None
        if self.config.detail_channels:
            embeddings, details = embeddings.tensor_split([self.config.prompt_dim], dim=1)
            drawn = self.prompt_encoder.draw(*prompts.parts)
            dense = dense + self.prompt_encoder.maps(drawn)
            seen = {"details": unpack(details), "drawn": drawn}
            refine = partial(self.mask_decoder.refine, **seen)
            rate = partial(self.mask_decoder.rate, **seen)
        return predict_masks(self.mask_decoder, embeddings, positions, sparse, dense, refine, rate)

    def shown(self, logits: torch.Tensor, iou: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What a user is shown of the masks of each row, as the architecture says.

        Args:
            logits: (R, M, h, w).
            iou: (R, M).

        Returns:
            (R, 1, h, w) and (R, 1).
        """
        if self.config.blend is None:
            return choose_best(logits, iou)
        return blend_masks(logits, iou, self.config.blend)


def _two_way(architecture: Architecture) -> TwoWayTransformer:
    """The transformer of the mask decoder."""
    sizes = (
        architecture.decoder_depth,
        architecture.prompt_dim,
        architecture.decoder_heads,
        architecture.decoder_mlp_dim,
    )
    if architecture.decoder_adapters == "none":
        return TwoWayTransformer(*sizes)
    # In front of the prompt: the predicted IoU, the single mask, the candidates.
    return AdaptedTwoWay(
        *sizes,
        own_tokens=2 + architecture.multimask_outputs,
        ratio=architecture.adapter_ratio,
        conditioning=architecture.decoder_adapters,
    )


def choose_best(logits: torch.Tensor, iou: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keep of each row the candidate with the highest predicted IoU.

    Args:
        logits: (R, M, h, w).
        iou: (R, M).

    Returns:
        (R, 1, h, w) and (R, 1). Each row chooses for itself, also where R > 1.
    """
    rows = torch.arange(len(iou), device=iou.device)
    best = iou.argmax(dim=1)
    return logits[rows, best].unsqueeze(1), iou[rows, best].unsqueeze(1)


def blend_masks(
    logits: torch.Tensor, iou: torch.Tensor, spread: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of each row's candidates, weighted by softmax(predicted IoU / spread).

    Predicted IoUs of a small network are off by more than the best two candidates often differ.
    Where one is clearly the best, it alone counts; between equals their mean is nearer to the
    truth than either.

    Args:
        logits: (R, M, h, w).
        iou: (R, M).
        spread: difference of predicted IoU that divides a weight by e.

    Returns:
        (R, 1, h, w) and (R, 1).
    """
    weights = torch.softmax(iou.float() / spread, dim=1)
    blended = torch.einsum("rm,rmhw->rhw", weights, logits.float())
    return blended.unsqueeze(1), (weights * iou).sum(dim=1, keepdim=True)


def upsample_logits(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear resampling of logits (R, M, h, w) to (R, M, *size), as SAM does it."""
    return functional.interpolate(logits, size, mode="bilinear", align_corners=False)


def build_sam(architecture: Architecture) -> AdapterSam:
    """Build an adapter-SAM with untrained weights, in evaluation mode."""
    return AdapterSam(architecture).eval()

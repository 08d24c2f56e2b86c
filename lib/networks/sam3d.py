"""Assembly of a SAM-Med3D: a cube of voxels, clicks and a mask in, a mask of the cube out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.networks.architectures3d import Architecture3d
from lib.networks.decoder3d import DetailMaskDecoder3d, MaskDecoder3d
from lib.networks.encoder3d import ImageEncoder3d
from lib.networks.prompt_encoder3d import PromptEncoder3d
from lib.networks.prompt_maps3d import MapPromptEncoder3d
from lib.networks.stem3d import unpack3d


@dataclass(frozen=True)
class PromptTensors3d:
    """One batch of prompts in voxels of the network's cube, R rows (objects) of the same kind.

    Attributes:
        points: (R, N, 3) indices along the three axes of the cube as it is encoded, or None.
        labels: (R, N) 1 foreground, 0 background, -1 padding; None together with points.
        masks: (R, 1, L, L, L) logits with L = 32, or None. The published weights were always
            given one, zeros at first.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    masks: Tensor | None = None

    def to(self, device: torch.device) -> PromptTensors3d:
        """The same prompts on a device."""
        return PromptTensors3d(*(None if part is None else part.to(device) for part in self.parts))

    @property
    def parts(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Points, labels and masks."""
        return self.points, self.labels, self.masks


class Sam3d(nn.Module):
    """SAM-Med3D at 128 x 128 x 128: encoder, prompt encoder, mask decoder.

    `encode` is dear, `decode` is cheap. The three submodules carry the names of the published
    state dict.
    """

    def __init__(self, architecture: Architecture3d) -> None:
        super().__init__()
        self.config = architecture
        self.image_encoder = ImageEncoder3d(architecture)
        detailed = architecture.detail_channels > 0
        self.prompt_encoder = (MapPromptEncoder3d if detailed else PromptEncoder3d)(architecture)
        self.mask_decoder = (DetailMaskDecoder3d if detailed else MaskDecoder3d)(architecture)

    def blank(self) -> Tensor:
        """An empty cube as `encode` takes it, (1, 1, S, S, S), on the network's device."""
        size = self.config.image_size
        return torch.zeros(1, 1, size, size, size, device=self.image_encoder.pos_embed.device)

    def encode(self, volumes: Tensor) -> Tensor:
        """Embed cubes (B, 1, S, S, S) as (B, embedding_channels, S/16, S/16, S/16). Dear.

        The voxels are z-scores: of all voxels of the cube above 0, mean 0 and deviation 1.
        """
        embeddings: Tensor = self.image_encoder(volumes)
        return embeddings

    def decode(
        self, embeddings: Tensor, prompts: PromptTensors3d, multimask: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Predict masks for R rows of prompts. Cheap.

        Args:
            embeddings: (1, C, g, g, g), shared by all rows, or (R, C, g, g, g), one for each row.
            prompts: R rows of prompts in the network's cube.
            multimask: three candidates a row instead of the one that was trained.

        Returns:
            Logits (R, 1 or 3, 4g, 4g, 4g) and predicted IoU (R, 1 or 3).
        """
        sparse, dense = self.prompt_encoder(*prompts.parts)
        details = drawn = None
        if isinstance(self.prompt_encoder, MapPromptEncoder3d):
            embeddings, packed = embeddings.tensor_split([self.config.prompt_dim], dim=1)
            details, drawn = unpack3d(packed), self.prompt_encoder.draw(*prompts.parts)
            dense = dense + self.prompt_encoder.maps(drawn)
        logits, iou = self.mask_decoder(
            embeddings, self.prompt_encoder.get_dense_pe(), sparse, dense, details, drawn
        )
        kept = slice(1, None) if multimask else slice(0, 1)
        return logits[:, kept], iou[:, kept]


def upsample_logits3d(logits: Tensor, size: int) -> Tensor:
    """Trilinear resampling of logits (R, M, l, l, l) to (R, M, size, size, size)."""
    return functional.interpolate(logits, 3 * (size,), mode="trilinear", align_corners=False)


def build_sam3d(architecture: Architecture3d) -> Sam3d:
    """Build a SAM-Med3D with untrained weights, in evaluation mode."""
    return Sam3d(architecture).eval()

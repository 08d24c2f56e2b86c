"""A SAM-Med3D that encodes each cube once and answers clicks on it one after the other.

Clicks are given as the network was trained, in the steps of `lib.inference.chain`: each stage has
all clicks so far and the logits of the stage before it, at first zeros.

Concurrency contract: both caches have locks of their own and are keyed by content; `embed` and
`answer` are called on the worker of the network.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import stage_counts
from lib.networks.backends import Encoder
from lib.networks.sam3d import PromptTensors3d, Sam3d

Cells = NDArray[np.float32]
"""Logits (L, L, L) on the cells of a cube, L = 32."""


@dataclass(frozen=True)
class EmbeddedCube:
    """An encoded cube with its name.

    Attributes:
        tensor: (1, C, g, g, g).
        key: encoder, arithmetic and content.
        encoder: what encoded it: "torch fp32".
        cached: it had been encoded before.
    """

    tensor: torch.Tensor
    key: str
    encoder: str
    cached: bool


@dataclass(frozen=True)
class CubeAnswer:
    """Logits on the cells of a cube, and the IoU that the network predicts for them."""

    logits: Cells
    iou: float


class CubeEmbedder:
    """Turns cubes into embeddings, or finds them.

    Args:
        model: whose embeddings they are, on its device.
        encoder: of the model; may be exchanged by a faster one at any time.
        encoder_version: architecture and weights of the encoder.
        embeddings: keyed by content; may be shared.

    Attributes:
        also_good: names of encoders whose embeddings are taken where there are some.
    """

    def __init__(
        self,
        model: Sam3d,
        encoder: Encoder,
        encoder_version: str,
        embeddings: ByteBoundedCache[torch.Tensor],
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.encoder_version = encoder_version
        self.embeddings = embeddings
        self.also_good: tuple[str, ...] = ()

    @torch.no_grad()
    def embed(self, cube: NDArray[np.float32]) -> EmbeddedCube:
        """Encode a cube (S, S, S) of z-scores, or find it. Dear for one never seen."""
        encoder = self.encoder
        digest = hashlib.blake2b(np.ascontiguousarray(cube).data, digest_size=16).hexdigest()
        for name in (encoder.backend_name, *self.also_good):
            key = f"{self.encoder_version}/{name}/{digest}"
            found = self.embeddings.get(key)
            if found is not None:
                return EmbeddedCube(found, key, name, cached=True)
        key = f"{self.encoder_version}/{encoder.backend_name}/{digest}"
        device = self.model.image_encoder.pos_embed.device
        tensor = encoder.encode(torch.from_numpy(cube)[None, None].to(device))
        self.embeddings.put(key, tensor, tensor.nbytes)
        return EmbeddedCube(tensor, key, encoder.backend_name, cached=False)


class CubeNetwork:
    """Encodes and decodes cubes, and remembers both.

    Args:
        model: on its device.
        embedder: of the same encoder.
        answers: of this network alone.
    """

    def __init__(
        self, model: Sam3d, embedder: CubeEmbedder, answers: ByteBoundedCache[CubeAnswer]
    ) -> None:
        self.model = model
        self.embedder = embedder
        self._answers = answers

    @property
    def size(self) -> int:
        """Edge of a cube in voxels."""
        return self.model.config.image_size

    @property
    def cells(self) -> int:
        """Edge of a cube in cells, the voxels of logits."""
        return self.model.config.low_res_size

    def answer(
        self,
        image: EmbeddedCube,
        points: NDArray[np.float64],
        labels: tuple[int, ...],
        start: Cells | None = None,
    ) -> CubeAnswer:
        """Answer clicks in turn. Cheap; stages that were decoded before are looked up.

        Args:
            image: the cube.
            points: (N, 3) voxels of the cube, N at least 1.
            labels: N, 1 inside, 0 outside.
            start: logits the first stage starts from; None for zeros.
        """
        logits = np.zeros(3 * (self.cells,), np.float32) if start is None else start
        name = hashlib.blake2b(logits.data, digest_size=16)
        answer, done = None, 0
        for count in stage_counts(len(labels), first=1):
            name.update(points[done:count].tobytes() + bytes(labels[done:count]))
            done = count
            key = f"{image.key}/{name.hexdigest()}"
            answer = self._answers.get(key)
            if answer is None:
                answer = self._decode(image.tensor, points[:count], labels[:count], logits)
                self._answers.put(key, answer, answer.logits.nbytes)
            logits = answer.logits
        assert answer is not None
        return answer

    @torch.no_grad()
    def _decode(
        self,
        embedding: torch.Tensor,
        points: NDArray[np.float64],
        labels: tuple[int, ...],
        logits: Cells,
    ) -> CubeAnswer:
        prompts = PromptTensors3d(
            torch.from_numpy(points)[None].float(),
            torch.tensor([labels]),
            torch.from_numpy(logits)[None, None],
        )
        decoded, iou = self.model.decode(embedding, prompts.to(embedding.device))
        return CubeAnswer(decoded[0, 0].float().cpu().numpy(), float(iou[0, 0]))

"""Encoded images, made once: whoever looks at an image for the first time pays for all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lib.imaging.geometry import resize_image
from lib.inference.cache import ByteBoundedCache
from lib.inference.decoder import Embedding
from lib.inference.view import SliceView
from lib.networks.backends import Encoder
from lib.networks.sam import AdapterSam


@dataclass(frozen=True)
class Embedded:
    """An encoded image with its name.

    Attributes:
        embedding: of the view.
        key: of the embedding: network, arithmetic and content. Equal keys, equal numbers.
        cached: it had been encoded before.
    """

    embedding: Embedding
    key: str
    cached: bool


class SliceEmbedder:
    """Turns views into embeddings, or finds them in the cache.

    Args:
        model: prepares images for the encoder.
        encoder: from `lib.networks.backends`; may be exchanged by a faster one at any time.
        cache: keyed by content, so several embedders may share it.
        model_version: architecture and weights.
    """

    def __init__(
        self,
        model: AdapterSam,
        encoder: Encoder,
        cache: ByteBoundedCache[Embedding],
        model_version: str,
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.model_version = model_version
        self._cache = cache

    def find(self, view: SliceView) -> Embedded | None:
        """The embedding of a view that was encoded before. Cheap; from any thread."""
        key = self._key(self.encoder, view)
        embedding = self._cache.get(key)
        return None if embedding is None else Embedded(embedding, key, cached=True)

    def embed(self, view: SliceView) -> Embedded:
        """The embedding of a view. Dear for one never seen; to be called on the worker.

        Raises:
            ImageError: pixels that are no image.
        """
        return self.embed_all([view])[0]

    def embed_all(self, views: Sequence[SliceView]) -> list[Embedded]:
        """The embeddings of several views, those never seen encoded as one batch."""
        found = [self.find(view) for view in views]
        missing = [view for view, known in zip(views, found, strict=True) if known is None]
        made = iter(self._encode(missing) if missing else ())
        return [next(made) if known is None else known for known in found]

    def _encode(self, views: Sequence[SliceView]) -> list[Embedded]:
        encoder = self.encoder
        images = torch.cat([prepare_image(self.model, view.image8()) for view in views])
        tensors = encoder.encode(images)
        made = []
        for view, tensor in zip(views, torch.split(tensors, 1), strict=True):
            # A copy: a part of a batch keeps all of the batch in memory.
            embedding = Embedding(tensor.clone(), view.height, view.width)
            key = self._key(encoder, view)
            self._cache.put(key, embedding, embedding.nbytes)
            made.append(Embedded(embedding, key, cached=False))
        return made

    def _key(self, encoder: Encoder, view: SliceView) -> str:
        return f"{self.model_version}/{encoder.backend_name}/{view.digest}"


def prepare_image(model: AdapterSam, image8: NDArray[np.uint8]) -> torch.Tensor:
    """An 8 bit RGB image (H, W, 3) as input (1, 3, S, S) of the encoder, on the model's device."""
    config = model.config
    resized = resize_image(image8, config.image_size, mode=config.resize)
    pixels = torch.from_numpy(np.ascontiguousarray(resized)).to(model.pixel_mean.device)
    return model.normalise(pixels.permute(2, 0, 1)[None].float())

"""Encoded images, made once: whoever looks at an image for the first time pays for all others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lib.imaging.geometry import resize_image
from lib.inference.decoder import Embedding
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.view import SliceView
from lib.networks.backends import Encoder
from lib.networks.sam import AdapterSam


@dataclass(frozen=True)
class Embedded:
    """An encoded image with its name.

    Attributes:
        embedding: of the view.
        key: of the embedding: encoder, arithmetic and content. Equal keys, equal numbers.
        encoder: what encoded it: "torch fp32".
        cached: it had been encoded before.
    """

    embedding: Embedding
    key: str
    encoder: str
    cached: bool


class SliceEmbedder:
    """Turns views into embeddings, or finds them in the store.

    Args:
        model: prepares images for the encoder.
        encoder: from `lib.networks.backends`; may be exchanged by a faster one at any time.
        store: keyed by content, so several embedders may share it.
        encoder_version: architecture and weights of the encoder; equal for networks that differ in
            their decoders only, which so share embeddings.

    Attributes:
        also_good: names of encoders whose embeddings are taken where there are some: those that
            were at work before a faster one was ready, so that who began with their masks goes on
            with them, and those that are about to be, whose work of an earlier run is on disk.
    """

    def __init__(
        self, model: AdapterSam, encoder: Encoder, store: EmbeddingStore, encoder_version: str
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.store = store
        self.encoder_version = encoder_version
        self.also_good: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of memory that one embedding takes; a file has a few hundred more."""
        return self.model.config.embedding_bytes

    def knows(self, view: SliceView) -> bool:
        """Whether a view was encoded before. Cheaper than `find`; from any thread."""
        return any(self.store.contains(self._key(name, view)) for name in self._names())

    def find(self, view: SliceView, remember: bool = True) -> Embedded | None:
        """The embedding of a view that was encoded before. Cheap; from any thread.

        Args:
            view: the image.
            remember: see `EmbeddingStore.put`.
        """
        for name in self._names():
            key = self._key(name, view)
            embedding = self.store.get(key, self.model.pixel_mean.device, remember)
            if embedding is not None:
                return Embedded(embedding, key, name, cached=True)
        return None

    def embed(self, view: SliceView, remember: bool = True) -> Embedded:
        """The embedding of a view. Dear for one never seen; to be called on the worker.

        Those of the same slab are made and stored along.

        Args:
            view: the image.
            remember: see `EmbeddingStore.put`.

        Raises:
            ImageError: pixels that are no image.
        """
        found = self.find(view, remember)
        if found is not None:
            return found
        encoder, views = self.encoder, view.together()
        images = [prepare_image(self.model, other.image8()) for other in views]
        made = {}
        tensors = torch.split(encoder.encode(torch.cat(images)), 1)
        for other, tensor in zip(views, tensors, strict=True):
            # A copy: a view of the whole slab would keep all of it in memory.
            embedding = Embedding(tensor.clone(), other.height, other.width)
            made[other] = (embedding, self._key(encoder.backend_name, other))
            self.store.put(made[other][1], embedding, remember)
        embedding, key = made[view]
        return Embedded(embedding, key, encoder.backend_name, cached=False)

    def _names(self) -> tuple[str, ...]:
        return (self.encoder.backend_name, *self.also_good)

    def _key(self, encoder: str, view: SliceView) -> str:
        return f"{self.encoder_version}/{encoder}/{view.digest}"


def prepare_image(model: AdapterSam, image8: NDArray[np.uint8]) -> torch.Tensor:
    """An 8 bit RGB image (H, W, 3) as input (1, 3, S, S) of the encoder, on the model's device."""
    config = model.config
    resized = resize_image(image8, config.image_size, mode=config.resize)
    pixels = torch.from_numpy(np.ascontiguousarray(resized)).to(model.pixel_mean.device)
    return model.normalise(pixels.permute(2, 0, 1)[None].float())

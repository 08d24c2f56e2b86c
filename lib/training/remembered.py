"""An encoder that remembers on disk what it encoded, across runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from lib.inference.decoder import Embedding
from lib.inference.embedding_store import EmbeddingStore

MEMORY_BYTES = 1 << 20
"""The stock of examples is in memory anyway."""
DISK_BYTES = 1 << 30
FLUSH = 32
"""So many embeddings are written before the disk is waited for: fewer than its queue holds."""


class RememberedEncoder:
    """Encodes images that were not encoded before.

    Args:
        encode: normalised images (1, 3, S, S) -> embeddings (1, C, h, w).
        version: of the weights that ``encode`` computes with.
        cache: folder of all caches.
    """

    def __init__(self, encode: Callable[[Tensor], Tensor], version: str, cache: Path) -> None:
        self._encode, self._version = encode, version
        self._store = EmbeddingStore(
            MEMORY_BYTES, folder=cache / "training-embeddings", disk_bytes=DISK_BYTES
        )
        self._written = 0

    def __call__(self, images: Tensor) -> Tensor:
        """Embed one normalised image."""
        digest = hashlib.sha256(images.cpu().numpy().tobytes()).hexdigest()
        key = f"{self._version}/{digest}"
        found = self._store.get(key, images.device)
        if found is not None:
            return found.tensor
        embedding = self._encode(images)
        self._store.put(key, Embedding(embedding, images.shape[-2], images.shape[-1]))
        self._written += 1
        if self._written % FLUSH == 0:
            self._store.flush()
        return embedding

    def close(self) -> None:
        """Wait until everything is on disk."""
        self._store.flush()

"""Embeddings in memory over embeddings on disk.

Concurrency contract: memory and files have locks of their own (`ByteBoundedCache`,
`EmbeddingFiles`), held for single look-ups. Files are written by one daemon thread; whoever puts
an embedding never waits for the disk.
"""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path

import torch

from lib.inference.cache import ByteBoundedCache
from lib.inference.decoder import Embedding
from lib.inference.embedding_files import EmbeddingFiles

WAITING = 256
"""So many embeddings wait for the disk at most; what comes on top stays in memory only."""


logger = logging.getLogger(__name__)


class EmbeddingStore:
    """Embeddings by key; keys hold all that decides the numbers, see `lib.inference.embedder`.

    Args:
        memory_bytes: of the embeddings in memory.
        folder: of the files; None keeps none.
        disk_bytes: of all files.
    """

    def __init__(self, memory_bytes: int, folder: Path | None = None, disk_bytes: int = 0) -> None:
        self._memory: ByteBoundedCache[Embedding] = ByteBoundedCache(memory_bytes)
        self._files = None if folder is None else EmbeddingFiles(folder, disk_bytes)
        self._waiting: queue.Queue[tuple[str, Embedding]] = queue.Queue(WAITING)
        if self._files is not None:
            threading.Thread(
                target=self._write, args=(self._files,), name="embeddings", daemon=True
            ).start()

    @property
    def max_bytes(self) -> int:
        """What memory and disk can hold together, the larger of both: the disk has all of it."""
        return max(self._memory.max_bytes, self.disk_bytes)

    @property
    def disk_bytes(self) -> int:
        """What the disk can hold; 0 where there is none, and once it has refused."""
        return self._files.max_bytes if self._files is not None and self._files.writable else 0

    def contains(self, key: str) -> bool:
        """Whether `get` would probably find something; nothing is read."""
        if self._memory.get(key) is not None:
            return True
        return self._files is not None and self._files.contains(key)

    def get(
        self, key: str, device: torch.device | None = None, remember: bool = True
    ) -> Embedding | None:
        """The embedding of a key, or None; one from the disk is in memory afterwards.

        Args:
            key: of the embedding.
            device: where one from the disk is brought to.
            remember: False leaves the memory to others, see `put`.
        """
        found = self._memory.get(key)
        if found is None and self._files is not None:
            found = self._files.read(key)
            if found is not None:
                if device is not None:
                    found = Embedding(found.tensor.to(device), found.height, found.width)
                if remember:
                    self._memory.put(key, found, found.nbytes)
        return found

    def put(self, key: str, embedding: Embedding, remember: bool = True) -> None:
        """Keep an embedding in memory, and on disk soon.

        Args:
            key: of the embedding.
            embedding: to be kept.
            remember: False for the disk only: whoever goes through a whole datastore must not
                push out of memory what people click on.
        """
        if remember:
            self._memory.put(key, embedding, embedding.nbytes)
        if self._files is not None:
            try:
                self._waiting.put_nowait((key, embedding))
            except queue.Full:
                return  # a slow disk; the embedding can be made again

    def flush(self) -> None:
        """Wait until everything that was put is on disk."""
        self._waiting.join()

    def __len__(self) -> int:
        """Number of embeddings in memory."""
        return len(self._memory)

    def _write(self, files: EmbeddingFiles) -> None:
        while True:
            key, embedding = self._waiting.get()
            try:
                files.write(key, embedding)
            except Exception:
                # Not the disk's fault, which `EmbeddingFiles` sees to; the next one may be sound.
                logger.exception("an embedding could not be written")
            finally:
                self._waiting.task_done()

"""Embeddings on disk: one small file each, bounded in number of bytes, safe to delete.

The files are made from patients' images. An image cannot be read off them, but they are not public
either: folders are made for the owner alone (0700), files likewise (0600). All of them can be
deleted at any time; they are made again when needed.

A file is a safetensors file whose metadata repeat the key, the size of the image and a checksum of
the numbers. It appears whole or not at all. Whatever cannot be used, because it is damaged or
because it is somebody else's, is removed and counts as absent. A disk that refuses to be written
to is left alone after one warning.

Concurrency contract: ``_lock`` guards the count of bytes and is held while old files are removed.
Several processes may share a folder: each counts its own files only between two looks at the whole
folder, so the bound may be exceeded a little, and removes what is oldest whoever wrote it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lib.inference.decoder import Embedding

SUFFIX = ".safetensors"
SPARE = 0.9
"""What is left of the bound after old files were removed, so that this is not done each time."""

logger = logging.getLogger(__name__)


class EmbeddingFiles:
    """Embeddings by key in a folder.

    Args:
        folder: made with the first file.
        max_bytes: of all files together.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._nbytes: int | None = None
        self._writable = True

    def contains(self, key: str) -> bool:
        """Whether there is a file for a key; it is not read."""
        return self._path(key).is_file()

    def read(self, key: str) -> Embedding | None:
        """The embedding of a key, or None. It counts as used now."""
        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as file:
                facts = file.metadata() or {}
                tensor = file.get_tensor("embedding")
            if facts.get("key") != key or facts.get("sha256") != _checksum(tensor):
                raise ValueError("another key, or other numbers than were written")
            found = Embedding(tensor, int(facts["height"]), int(facts["width"]))
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            logger.warning("%s cannot be used and is removed: %s", path.name, error)
            _remove(path)
            return None
        return found

    def write(self, key: str, embedding: Embedding) -> None:
        """Keep an embedding. What goes wrong is logged once, and nothing is written any more."""
        if not self._writable:
            return
        tensor = embedding.tensor.detach().cpu().contiguous()
        facts = {"key": key, "height": str(embedding.height), "width": str(embedding.width)}
        content = save({"embedding": tensor}, {**facts, "sha256": _checksum(tensor)})
        try:
            self._write(self._path(key), content)
        except OSError as error:
            self._writable = False
            logger.warning("embeddings are no longer kept in %s: %s", self.folder, error)

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # mkstemp makes it readable for the owner alone.
        handle, part = tempfile.mkstemp(prefix=".part-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(part).replace(path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
        with self._lock:
            if self._nbytes is None:
                self._nbytes = sum(size for _, size, _ in self._files())
            else:
                self._nbytes += len(content)
            if self._nbytes > self.max_bytes:
                self._nbytes = self._forget_oldest()

    def _forget_oldest(self) -> int:
        """Remove what was not used for longest; returns how many bytes are left."""
        files = sorted(self._files())
        left = sum(size for _, size, _ in files)
        for _, size, path in files:
            if left <= SPARE * self.max_bytes:
                break
            _remove(path)
            left -= size
        return left

    def _files(self) -> list[tuple[float, int, Path]]:
        """Time of the last use, bytes and path of every file, whoever wrote it."""
        found = []
        for path in self.folder.glob(f"*/*{SUFFIX}"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # another process removed it meanwhile
            found.append((status.st_mtime, status.st_size, path))
        return found

    def _path(self, key: str) -> Path:
        # A key may hold anything; its hash is a name on any disk.
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / (name + SUFFIX)


def _checksum(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s cannot be removed: %s", path, error)

"""Embeddings on disk: one small file each, bounded in number of bytes, safe to delete.

The files are made from patients' images. An image cannot be read off them, but they are not public
either: folders are made for the owner alone (0700), files likewise (0600). All of them can be
deleted at any time; they are made again when needed.

A file is a safetensors file whose metadata repeat the key, the size of the image and a checksum of
all of it. It appears whole or not at all. Whatever is damaged, or is somebody else's, is removed
and counts as absent. A disk that refuses is left alone after one warning: one that cannot be
written to is still read, and a file that cannot be read is not touched.

Concurrency contract: ``_lock`` guards the bytes that may be written before the next look at the
folder, and is held while old files are removed. Several processes may share a folder: each looks
again after a sixteenth of the bound, which is what each of the others may exceed it by, and removes
what is oldest whoever wrote it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lib.inference.decoder import Embedding

SUFFIX = ".safetensors"
PART = ".part-"
"""How the name of a file begins that is being written."""
PART_SECONDS = 3600.0
"""So old, nobody writes it any more: its process was killed."""
LOOKS = 16
"""So many looks at the folder for each time the bound is written; one takes a tenth of a second
for as many files as the default bound allows."""

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
        self.writable = True
        """False once the disk has refused."""
        self._readable = True
        self._lock = threading.Lock()
        self._room = 0

    def contains(self, key: str) -> bool:
        """Whether there is a file for a key; it is not read."""
        return os.path.isfile(self._path(key))  # noqa: PTH113 - Path raises where it may not look

    def read(self, key: str) -> Embedding | None:
        """The embedding of a key, or None. It counts as used now."""
        path = self._path(key)
        try:
            found = _unpack(key, path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            # Not the file's fault: no permission, no more file handles, a network that is gone.
            if self._readable:
                logger.warning("embeddings in %s cannot be read: %s", self.folder, error)
            self._readable = False
            return None
        except (SafetensorError, KeyError, ValueError) as error:
            logger.warning("%s cannot be used and is removed: %s", path.name, error)
            _remove(path)
            return None
        with suppress(OSError):  # a folder that others filled, and that may only be read
            os.utime(path)
        return found

    def write(self, key: str, embedding: Embedding) -> None:
        """Keep an embedding. What goes wrong is logged once, and nothing is written any more."""
        if not self.writable:
            return
        try:
            self._write(self._path(key), _pack(key, embedding))
        except FileNotFoundError:
            return  # somebody removed the folder at this moment, as they may
        except OSError as error:
            self.writable = False
            logger.warning("embeddings are no longer kept in %s: %s", self.folder, error)

    def _write(self, path: Path, content: bytes) -> None:
        if len(content) > self.max_bytes:
            return
        with self._lock:
            if len(content) > self._room:
                self._room = self._make_room(len(content))
            self._room -= len(content)
        _make_private(path.parent)
        # mkstemp makes it readable for the owner alone.
        handle, part = tempfile.mkstemp(prefix=PART, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(part).replace(path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise

    def _make_room(self, nbytes: int) -> int:
        """Remove what was not used for longest, if need be, until ``nbytes`` fit in.

        Returns:
            How many bytes may be written before the next look.
        """
        files = sorted(self._files())
        left = sum(size for _, size, _ in files)
        share = max(nbytes, self.max_bytes // LOOKS)
        for _, size, path in files:
            if left + share <= self.max_bytes:
                break
            _remove(path)
            left -= size
        return share

    def _files(self) -> list[tuple[float, int, Path]]:
        """Time of the last use, bytes and path of every file, whoever wrote it."""
        self._remove_parts()
        found = []
        for path in self.folder.glob(f"*/*{SUFFIX}"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # another process removed it meanwhile
            found.append((status.st_mtime, status.st_size, path))
        return found

    def _remove_parts(self) -> None:
        """Remove what processes left behind that were killed while they wrote."""
        oldest = time.time() - PART_SECONDS
        for path in self.folder.glob(f"*/{PART}*"):
            with suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def _path(self, key: str) -> Path:
        # A key may hold anything; its hash is a name on any disk.
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / (name + SUFFIX)


def _pack(key: str, embedding: Embedding) -> bytes:
    tensor = embedding.tensor.detach().cpu().contiguous()
    facts = {"key": key, "height": str(embedding.height), "width": str(embedding.width)}
    return save({"embedding": tensor}, {**facts, "sha256": _checksum(tensor, facts)})


def _unpack(key: str, path: Path) -> Embedding:
    """What `_pack` made.

    Raises:
        OSError: the file cannot be read.
        SafetensorError, KeyError, ValueError: it can, and is not what `_pack` made of this key.
    """
    with safe_open(path, framework="pt") as file:
        facts = dict(file.metadata() or {})
        # A copy: the library maps the file into memory, so whoever writes to the file afterwards
        # would change these numbers, and whoever cuts it would end the process.
        tensor = file.get_tensor("embedding").clone()
    checksum = facts.pop("sha256")
    if facts["key"] != key or tensor.dtype != torch.float32 or checksum != _checksum(tensor, facts):
        raise ValueError("another key, or something else than was written")
    return Embedding(tensor, int(facts["height"]), int(facts["width"]))


def _checksum(tensor: torch.Tensor, facts: dict[str, str]) -> str:
    """Of all that decides a mask: a wrong image size would shift it as a wrong number would."""
    whole = hashlib.sha256(repr((sorted(facts.items()), tuple(tensor.shape))).encode())
    whole.update(tensor.numpy().tobytes())
    return whole.hexdigest()


def _make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for the owner alone."""
    for missing in reversed([f for f in (folder, *folder.parents) if not f.exists()]):
        # mkdir's own ``parents`` would make those above with everybody's usual permissions.
        missing.mkdir(mode=0o700, exist_ok=True)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s cannot be removed: %s", path, error)

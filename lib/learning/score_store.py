"""Scores of the slices of one datastore, in memory and on disk.

One file for each version of the network, so that a version that is taken back brings its scores
along. A file is a NumPy archive of plain arrays, written beside its place and renamed; a damaged
one is set aside and its slices are scored again. The features are made from patients' images, so
the folder is for its owner alone. All files may be deleted at any time.

Concurrency contract: ``_lock`` guards the rows and is held for look-ups and copies, never while
the disk is waited for. `save` and `load` are called by one thread, the scorer's.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import threading
import zipfile
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from lib.learning.slice_score import ScoreTable, SliceScore
from lib.training.durable import write_whole

SUFFIX = ".npz"
DAMAGED = ".damaged"
VERSIONS = 3
"""So many versions' files are kept, the newest."""

logger = logging.getLogger(__name__)


def scores_folder(cache: Path, architecture: str, datastore: str) -> Path:
    """Where the scores of a datastore lie.

    Args:
        cache: folder of all caches.
        architecture: of the network; features of different ones have different lengths.
        datastore: a folder, or the address of a PACS.
    """
    whole = datastore if "://" in datastore else str(Path(datastore).resolve())
    return cache / "scores" / f"{architecture}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}"


class ScoreStore:
    """Scores by image; the slices of an image come and go together.

    Args:
        folder: of the files, made with the first one; None keeps nothing on disk.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._rows: dict[str, tuple[SliceScore, ...]] = {}
        self._table: ScoreTable | None = None
        self._changed = False

    def put(self, image: str, rows: Iterable[SliceScore]) -> None:
        """Replace the scores of an image."""
        with self._lock:
            self._rows[image] = tuple(rows)
            self._table, self._changed = None, True

    def get(self, image: str) -> tuple[SliceScore, ...]:
        """The scores of an image; empty where there are none."""
        with self._lock:
            return self._rows.get(image, ())

    def forget(self, image: str) -> None:
        """Drop the scores of an image, because it or its label changed."""
        with self._lock:
            if self._rows.pop(image, None) is not None:
                self._table, self._changed = None, True

    def retain(self, images: Iterable[str]) -> None:
        """Drop the scores of all images that are not named: the datastore has them no more."""
        wanted = frozenset(images)
        with self._lock:
            gone = [image for image in self._rows if image not in wanted]
            for image in gone:
                del self._rows[image]
            if gone:
                self._table, self._changed = None, True

    def table(self) -> ScoreTable:
        """All scores as they are now; the same object until something changes."""
        with self._lock:
            if self._table is None:
                rows = (row for rows in self._rows.values() for row in rows)
                self._table = ScoreTable(tuple(rows))
            return self._table

    def load(self, model_version: str) -> None:
        """Take the scores of a version from the disk, in place of those in memory.

        Images that it has not scored keep what another version said of them, the newest file
        first: an order of yesterday is better than none, and `ScoreTable.relative` keeps both
        apart. What is in memory and was not found is kept likewise.
        """
        own = self._read(self._path(model_version))
        others: dict[str, list[SliceScore]] = {}
        for path in reversed(self._files()):
            if path != self._path(model_version):
                others.update(self._read(path))
        with self._lock:
            merged: dict[str, Iterable[SliceScore]] = {**others, **self._rows, **own}
            self._rows = {image: tuple(rows) for image, rows in merged.items()}
            self._table, self._changed = None, False

    def save(self, model_version: str) -> None:
        """Bring the scores of a version to the disk, if any has changed.

        A disk that refuses is only logged: the scores can be made again.
        """
        with self._lock:
            rows = [r for rows in self._rows.values() for r in rows]
            changed, self._changed = self._changed, False
        if self._folder is None or not changed:
            return
        # Of labelled slices only the features count, whichever version they were noted with.
        rows = [row for row in rows if row.labelled or row.model_version == model_version]
        path = self._path(model_version)
        part = path.with_name(f".part-{os.getpid()}-{path.name}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, _pack(rows), part)
            for old in self._files()[VERSIONS:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("scores cannot be kept in %s: %s", self._folder, error)
            with suppress(OSError):
                part.unlink()
            with self._lock:
                self._changed = True

    def _path(self, model_version: str) -> Path:
        # Versions are words of ours, but a name of a file is a name of a file.
        name = re.sub(r"[^A-Za-z0-9._-]", "_", model_version)
        return (self._folder or Path()) / (name + SUFFIX)

    def _files(self) -> list[Path]:
        """All files, the newest first."""
        if self._folder is None:
            return []
        files = [p for p in self._folder.glob(f"*{SUFFIX}") if not p.name.startswith(".part-")]
        return sorted(files, key=lambda p: (p.stat().st_mtime_ns, p.name), reverse=True)

    def _read(self, path: Path) -> dict[str, list[SliceScore]]:
        if self._folder is None:
            return {}
        try:
            return _unpack(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            logger.warning("%s is damaged, its slices are scored again: %s", path, error)
            try:
                path.replace(path.with_name(path.name + DAMAGED))
            except OSError:
                logger.warning("%s cannot be set aside", path)
            return {}


def _pack(rows: list[SliceScore]) -> bytes:
    width = len(rows[0].features) if rows else 1
    features = np.stack([r.features for r in rows]) if rows else np.zeros((0, width))
    target = io.BytesIO()
    np.savez(
        target,
        image=np.array([r.image for r in rows], dtype=np.str_),
        k=np.array([r.k for r in rows], dtype=np.int64),
        uncertainty=np.array([r.uncertainty for r in rows], dtype=np.float32),
        features=features.astype(np.float32),
        model_version=np.array([r.model_version for r in rows], dtype=np.str_),
        encoder_version=np.array([r.encoder_version for r in rows], dtype=np.str_),
        labelled=np.array([r.labelled for r in rows], dtype=np.bool_),
    )
    return target.getvalue()


def _unpack(data: bytes) -> dict[str, list[SliceScore]]:
    """What `_pack` made, by image.

    Raises:
        ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error: something else.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        columns = {name: arrays[name] for name in arrays.files}
    images = columns["image"].tolist()
    features = columns["features"]
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError(f"features of shape {features.shape}, or not finite")
    plain = ("k", "uncertainty", "model_version", "encoder_version", "labelled")
    lists = [columns[name].tolist() for name in plain]
    found: dict[str, list[SliceScore]] = {}
    for image, values, vector in zip(images, zip(*lists, strict=True), features, strict=True):
        k, uncertainty, model, encoder, labelled = values
        row = SliceScore(image, int(k), uncertainty, vector, model, encoder, bool(labelled))
        found.setdefault(str(image), []).append(row)
    return found

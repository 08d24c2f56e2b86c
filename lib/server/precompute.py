"""Encoding every slice of a datastore before anybody asks for it.

Works on the app as the server makes it, so images, intensities, network and caches are those that
a click will look for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from monailabel.interfaces.datastore import Datastore

from lib.errors import Samed2dError, UnavailableError
from lib.imaging.volume import Volume
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.worker import Priority
from lib.server.dispatch import image_path
from lib.server.infer import Samed2dInferTask

FLUSH = 64
"""So many slices are encoded before the disk is waited for: fewer than its queue holds, so that
none is left out where the disk is slower than the network."""


@dataclass
class Precomputed:
    """What was done.

    Attributes:
        encoded: slices encoded now.
        found: slices that had been encoded before.
        failed: image id -> why it could not be read.
        too_many: so many slices do not fit on the disk together with the others.
    """

    encoded: int = 0
    found: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    too_many: int = 0


def precompute(
    task: Samed2dInferTask,
    datastore: Datastore,
    images: Iterable[str],
    progress: Callable[[str, int, int], None] = lambda image, k, total: None,
) -> Precomputed:
    """Encode all slices of some images; what is on disk already is left as it is.

    Args:
        task: that will answer the clicks.
        datastore: of the images; one of a PACS downloads them.
        images: ids.
        progress: called with image, slices done and slices in all, after each slice.

    Raises:
        CheckpointError, OptionError: the network cannot be loaded.
        UnavailableError: nothing can be kept on disk.
    """
    done = Precomputed()
    task.model.wait_until_settled()
    embedder = task.model.segmenter().embedder
    _check_disk(embedder.store)
    try:
        for image in images:
            _check_disk(embedder.store)
            try:
                volume = task.volumes.get(Path(image_path(datastore, image)))
                for k in range(volume.n_slices):
                    _encode(task, volume, k, done)
                    progress(image, k + 1, volume.n_slices)
            except Samed2dError as error:
                done.failed[image] = error.message
                progress(image, 1, 1)
    finally:
        embedder.store.flush()  # also for whoever ends this early
    _check_disk(embedder.store)
    room = embedder.store.disk_bytes // embedder.nbytes
    done.too_many = max(0, done.encoded + done.found - room)
    return done


def _check_disk(store: EmbeddingStore) -> None:
    if store.disk_bytes == 0:
        raise UnavailableError(
            got="no disk to keep embeddings on",
            allowed="a folder cache_dir that can be written to, embedding_disk_mb above 0, and a "
            "network with weights",
            todo="correct --conf cache_dir or --conf embedding_disk_mb, or make room on the disk",
        )


def _encode(task: Samed2dInferTask, volume: Volume, k: int, done: Precomputed) -> None:
    segmenter = task.model.segmenter()
    view = task.view(volume, k)
    if segmenter.embedder.knows(view):
        done.found += 1
        return
    segmenter.worker.run(Priority.AHEAD, lambda: segmenter.embedder.embed(view))
    done.encoded += 1
    if done.encoded % FLUSH == 0:
        segmenter.embedder.store.flush()

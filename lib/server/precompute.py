"""Encoding every slice of a datastore before anybody asks for it.

Works on the app as the server makes it, so images, intensities, network and caches are those that
a click will look for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from monailabel.interfaces.datastore import Datastore

from lib.errors import Samed2dError
from lib.imaging.volume import Volume
from lib.inference.worker import Priority
from lib.server.dispatch import image_path
from lib.server.infer import Samed2dInferTask


@dataclass
class Precomputed:
    """What was done.

    Attributes:
        encoded: slices encoded now.
        found: slices that had been encoded before.
        failed: image id -> why it could not be read.
    """

    encoded: int = 0
    found: int = 0
    failed: dict[str, str] = field(default_factory=dict)


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
    """
    done = Precomputed()
    segmenter = task.model.segmenter()
    task.model.wait_until_settled()
    for image in images:
        try:
            volume = task.volumes.get(Path(image_path(datastore, image)))
        except Samed2dError as error:
            done.failed[image] = error.message
            continue
        for k in range(volume.n_slices):
            _encode(task, volume, k, done)
            progress(image, k + 1, volume.n_slices)
        # The next image may be as large: nothing is put off until the disk cannot follow.
        segmenter.embedder.store.flush()
    return done


def _encode(task: Samed2dInferTask, volume: Volume, k: int, done: Precomputed) -> None:
    segmenter = task.model.segmenter()
    view = task.view(volume, k)
    if segmenter.embedder.knows(view):
        done.found += 1
        return
    segmenter.worker.run(Priority.AHEAD, lambda: segmenter.embedder.embed(view))
    done.encoded += 1

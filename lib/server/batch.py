"""Pre-annotation: ``POST /batch/infer/{model}`` over all images, as labels that people correct.

The host's own task (0.8.5, `BatchInferTask`) sends each image to ``infer`` without a prompt, to
which a model that is clicked has no answer; on a computer without a GPU its default request ends in
a division by zero. Here each image gets what `lib.learning.pre_annotate` finds, saved under the tag
``original`` with the model's version and the source, so that nobody takes it for a person's work.

It runs in a process of its own, as a training does, and can be ended at any time: an image that has
such a label of the same network version is not done again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from lib.data.labelled_slices import LabelledSlices
from lib.data.pool import LabelledImage
from lib.errors import RequestError, Samed2dError
from lib.imaging.volume import ReadLimits, Volume
from lib.inference.propagate import PropagateSettings
from lib.inference.view import SliceView
from lib.inference.volume_network import VolumeSlices
from lib.inference.worker import Priority
from lib.learning.look_alikes import LabelledObject, LookAlikes, centre_of, object_features
from lib.learning.pre_annotate import PreAnnotation, carry_on, network_of, recognise, suggest
from lib.server.dispatch import image_path
from lib.server.infer import Samed2dInferTask
from lib.server.label_file import planes_of, write_planes
from lib.server.labelled import read_labelled
from lib.server.running import running_server, sentence_last
from lib.server.start_label import FILE_KEY, NAMES_KEY, saved_label
from lib.server.train_task import NICENESS
from lib.training.examples import network_masks

IMAGES = ("all", "labeled", "unlabeled")
TAG = DefaultLabelTag.ORIGINAL.value
MAX_EXAMPLES = 200
"""So many labelled slices are looked at to know what is searched for."""
OF_HOST = frozenset(
    {"device", "multi_gpu", "gpus", "logging", "save_label", "max_workers", "model", "label_tag"}
)
"""Keys of the host's default request; there is nothing to choose about them here."""

MASK_SIZE = 64
"""Edge length of the masks that are compared."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchSettings:
    """What is pre-annotated.

    Attributes:
        images: "unlabeled" (the default), "labeled" (slices without a label are added) or "all".
        max_batch_size: so many images at most; 0 for no limit.
        redo: do those again that this version of the network did before.
        seconds: for carrying one label through one volume.
    """

    images: str = "unlabeled"
    max_batch_size: int = 0
    redo: bool = False
    seconds: float = 30.0

    @classmethod
    def parse(cls, request: Mapping[str, Any]) -> BatchSettings:
        """Read what a client sent; keys of the host's default request are passed over.

        Raises:
            RequestError: an unknown key, or a value that is not allowed.
        """
        own = {field.name for field in fields(cls)}
        unknown = sorted(set(request) - own - OF_HOST)
        if unknown:
            raise _wrong("unknown key " + ", ".join(map(repr, unknown)), ", ".join(sorted(own)))
        tag = request.get("label_tag", TAG)
        if tag != TAG:
            raise _wrong(f"label_tag = {tag!r}", f"{TAG!r}: nobody has looked at these labels")
        values = {key: request[key] for key in own & set(request)}
        settings = cls(**values)
        if settings.images not in IMAGES:
            raise _wrong(f"images = {settings.images!r}", ", ".join(IMAGES))
        _check_number("max_batch_size", settings.max_batch_size, 0, 1 << 31, whole=True)
        _check_number("seconds", settings.seconds, 0.1, 3600)
        if not isinstance(settings.redo, bool):
            raise _wrong(f"redo = {settings.redo!r}", "true or false")
        return settings


class PreAnnotateTask:
    """What the host calls for ``/batch/infer``.

    Args:
        task: that answers clicks, with its network.
        limits: of images and labels that are read.
    """

    def __init__(self, task: Samed2dInferTask, limits: ReadLimits) -> None:
        self._task, self._limits = task, limits

    def __call__(
        self, request: Mapping[str, Any], datastore: Datastore, infer: object = None
    ) -> dict[str, dict[str, Any]]:
        """Label all images that are asked for.

        Args:
            request: see `BatchSettings`.
            datastore: of the images.
            infer: the host's; not used.

        Returns:
            Image -> source, objects and predicted IoU of its label, or why it has none.

        Raises:
            RequestError: see `BatchSettings.parse`.
            CheckpointError: the network cannot be loaded.
        """
        with sentence_last():
            return self._carry_out(BatchSettings.parse(request), datastore)

    def _carry_out(
        self, settings: BatchSettings, datastore: Datastore
    ) -> dict[str, dict[str, Any]]:
        if running_server() is None:
            os.nice(NICENESS)
        version = self._task.model.live().model_version
        images = [
            image
            for image in images_for(datastore, settings.images)
            if settings.redo or not done_before(datastore, image, version)
        ]
        images = images[: settings.max_batch_size or None]
        logger.info("%d images to pre-annotate with %s", len(images), version)
        known = self._known(datastore) if images else LookAlikes(())
        result = {}
        for done, image in enumerate(images, start=1):
            try:
                result[image] = self._annotate(datastore, image, known, settings, version)
            except (Samed2dError, OSError) as error:
                message = error.message if isinstance(error, Samed2dError) else str(error)
                result[image] = {"problem": message}
            logger.info("%d of %d: %s: %s", done, len(images), image, result[image])
        return result

    def _annotate(
        self,
        datastore: Datastore,
        image: str,
        known: LookAlikes,
        settings: BatchSettings,
        version: str,
    ) -> dict[str, Any]:
        volume = self._task.volumes.get(Path(image_path(datastore, image)))
        slices = VolumeSlices(volume.n_slices, lambda k: self._task.view(volume, k))
        network = network_of(self._task.model.segmenter(), slices)
        walk = PropagateSettings(seconds=settings.seconds)
        saved = _saved(self._task, datastore, image, volume)
        if saved is not None:
            found = carry_on(network, *saved, walk)
        elif known.labels:
            found = recognise(network, known, walk)
        else:
            found = suggest(network)
        return self._save(datastore, image, volume, found, version)

    def _save(
        self,
        datastore: Datastore,
        image: str,
        volume: Volume,
        found: PreAnnotation,
        version: str,
    ) -> dict[str, Any]:
        values = {name: value for value, name in enumerate(found.masks, start=1)}
        planes = planes_of(found.masks, values)
        facts = {
            "model": self._task.name,
            "model_version": version,
            "source": found.source,
            "iou": round(found.iou, 4),
            "label_names": values,
        }
        path = write_planes(planes, volume, ".nii.gz")
        try:
            info = {
                "model": self._task.name,
                "params": facts,
                "label_info": [{"name": name, "idx": value} for name, value in values.items()],
            }
            datastore.save_label(image, str(path), TAG, info)
        finally:
            path.unlink(missing_ok=True)
        voxels = {
            name: sum(int((plane == value).sum()) for plane in planes.values())
            for name, value in values.items()
        }
        return {"source": found.source, "iou": facts["iou"], "voxels": voxels}

    def _known(self, datastore: Datastore) -> LookAlikes:
        """The labelled objects of all images, as this network sees them."""
        data: LabelledSlices = read_labelled(datastore, self._limits)
        images = data.images[:MAX_EXAMPLES]
        logger.info("%d labelled slices say what to look for", len(images))
        return LookAlikes([found for image in images for found in self._objects(image)])

    def _objects(self, image: LabelledImage) -> Iterable[LabelledObject]:
        segmenter = self._task.model.segmenter()
        intensity = self._task.shown_intensity(None)
        view = SliceView(image.image, intensity, image.modality, image.body_part)
        embedding = segmenter.worker.run(
            Priority.AHEAD, lambda: segmenter.embedder.embed(view)
        ).embedding
        numbers = embedding.tensor.float().cpu().numpy()
        masks = network_masks(image.masks, MASK_SIZE)
        for label, mask in zip(image.labels, masks, strict=True):
            if mask.any():
                features = object_features(numbers, mask)
                area, centre = float(mask.mean()), centre_of(mask)
                yield LabelledObject(label, features, area, centre, image.name)


def images_for(datastore: Datastore, which: str) -> list[str]:
    """Ids of the images that are asked for, in the order of their names."""
    if which == "labeled":
        return sorted(datastore.get_labeled_images())
    if which == "unlabeled":
        return sorted(datastore.get_unlabeled_images())
    return sorted(datastore.list_images())


def done_before(datastore: Datastore, image: str, version: str) -> bool:
    """Whether an image has a pre-annotation of this version of the network."""
    info = datastore.get_label_info(image, TAG) or {}
    params = info.get("params")
    return isinstance(params, Mapping) and (
        params.get("model_version") == version and "source" in params
    )


def _saved(
    task: Samed2dInferTask, datastore: Datastore, image: str, volume: Volume
) -> tuple[Any, dict[int, str]] | None:
    """A person's label of the image with its names, or None."""
    if image not in datastore.get_labeled_images():
        return None
    saved = saved_label(datastore, image)
    if FILE_KEY not in saved:
        return None
    labels = task.volumes.get(saved[FILE_KEY])
    if labels.shape != volume.shape or not labels.array.any():
        return None
    names = {value: name for name, value in saved[NAMES_KEY].items()}
    return np.rint(labels.array).astype(np.int64), names


def _check_number(key: str, value: object, least: float, most: float, whole: bool = False) -> None:
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not number or not least <= value <= most:  # type: ignore[operator]  # a number
        kind = "a whole number" if whole else "a number"
        raise _wrong(f"{key} = {value!r}", f"{kind} from {least:g} to {most:g}")


def _wrong(got: str, allowed: str) -> RequestError:
    return RequestError(got=got, allowed=allowed, todo="correct it in the request for /batch/infer")

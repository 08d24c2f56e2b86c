"""The labelled images of a datastore, a folder or a PACS, as slices to learn from.

Not by the host's ``datalist()``: for a PACS it deletes local labels that the PACS does not list,
and it takes whichever DICOM SEG comes last.

Of several labels of an image in a PACS the newest counts, also one that is still on its way there;
see `lib.server.label_sources`. What cannot be used is left out with a reason; only a PACS that is
down ends the reading.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from numpy.typing import NDArray

from lib.data.labelled_slices import (
    NO_NUMBERS,
    OTHER_GRID,
    LabelledSlices,
    Skipped,
    slices_of,
)
from lib.errors import NotFoundError, Samed2dError, UnavailableError
from lib.imaging.label_grid import reoriented
from lib.imaging.volume import ReadLimits, Volume, read_volume
from lib.server.datastore import PacsDatastore
from lib.server.label_check import Grid
from lib.server.label_info import names_by_value, reviewed_slices
from lib.server.label_sources import LabelSource
from lib.server.volumes import VolumeStore

IMAGE_GONE = "of an image that is gone"
IMAGE_UNREADABLE = "of an image that cannot be read"
NOT_LISTED = "of an image that the datastore does not list"
UNREADABLE = "that cannot be read"
GONE = "whose file is gone"
NOT_HANDED_OUT = "that the PACS did not hand out"

logger = logging.getLogger(__name__)
Progress = Callable[[int, int], None]


class Convert(Protocol):
    """Takes what is to be learned from out of an image with its label map; see `slices_of`."""

    def __call__(
        self,
        image: str,
        patient: str,
        volume: Volume,
        labels: NDArray[np.generic],
        names: Mapping[int, str],
        reviewed: frozenset[int] = frozenset(),
    ) -> LabelledSlices:
        """Slices, and what was left out."""


def read_labelled(
    datastore: Datastore,
    limits: ReadLimits,
    progress: Progress = lambda done, total: None,
    convert: Convert = slices_of,
) -> LabelledSlices:
    """All images with a final label.

    Args:
        datastore: of the host; its `PacsDatastore` reads labels back from DICOM SEG.
        limits: for images and labels alike.
        progress: called with images done and images in all, after each.
        convert: called for each image whose label map lies on its grid.

    Raises:
        UnavailableError: the PACS does not answer.
    """
    volumes = VolumeStore(0, limits)
    if isinstance(datastore, PacsDatastore):
        return _read_pacs(datastore, volumes, progress, convert)
    images = sorted(datastore.get_labeled_images())
    parts = []
    for done, image in enumerate(images, start=1):
        parts.append(_read_saved(datastore, image, volumes, limits, convert))
        progress(done, len(images))
    return LabelledSlices.joined(parts)


def _left_out(image: str, reason: str, error: Exception | None = None) -> LabelledSlices:
    detail = error.message if isinstance(error, Samed2dError) else str(error or "")
    return LabelledSlices((), (Skipped(image, None, "", reason, detail),))


def _read_saved(
    datastore: Datastore,
    image: str,
    volumes: VolumeStore,
    limits: ReadLimits,
    convert: Convert,
) -> LabelledSlices:
    """One image of a folder with its label file."""
    volume = _read_image(datastore, image, volumes)
    if isinstance(volume, LabelledSlices):
        return volume
    tag = DefaultLabelTag.FINAL
    label = datastore.get_label_by_image_id(image, tag)
    path = datastore.get_label_uri(label, tag) if label else ""
    if not path:
        return _left_out(image, GONE)
    info = datastore.get_label_info(label, tag) or {}
    return _with_label_file(image, volume, Path(path), info, limits, convert)


def _read_image(datastore: Datastore, image: str, volumes: VolumeStore) -> Volume | LabelledSlices:
    """The image, or why there is none."""
    try:
        path = datastore.get_image_uri(image)
        return volumes.get(Path(path)) if path else _left_out(image, IMAGE_GONE)
    except NotFoundError as error:
        return _left_out(image, IMAGE_GONE, error)
    except (Samed2dError, OSError) as error:
        if isinstance(datastore, PacsDatastore):
            datastore.segs.check_alive()
        return _left_out(image, IMAGE_UNREADABLE, error)


def _with_label_file(
    image: str,
    volume: Volume,
    path: Path,
    info: Mapping[str, Any],
    limits: ReadLimits,
    convert: Convert,
) -> LabelledSlices:
    """An image with a label map in a file on its own grid, in any order of the axes."""
    try:
        label = read_volume(path, limits)
    except NotFoundError as error:
        return _left_out(image, GONE, error)
    except (Samed2dError, OSError) as error:
        return _left_out(image, UNREADABLE, error)
    if label.is_colour or (label.array.dtype.kind == "f" and label.warnings):
        return _left_out(image, NO_NUMBERS)  # colours, or NaN that was replaced
    values = reoriented(label.array, label.affine, volume.affine, volume.shape)
    if values is None:
        return _left_out(image, OTHER_GRID)
    return convert(image, image, volume, values, names_by_value(info), reviewed_slices(info))


def _read_pacs(
    datastore: PacsDatastore, volumes: VolumeStore, progress: Progress, convert: Convert
) -> LabelledSlices:
    parts = []
    sources = datastore.labels.sources(
        lambda series, error: parts.append(_left_out(series, NOT_HANDED_OUT, error))
    )
    listed = set(datastore.list_images())
    parts += [
        _left_out(source.series, NOT_LISTED)
        for image, of_image in sources.items()
        for source in of_image
        if image not in listed
    ]
    images = sorted(sources.keys() & listed)
    for done, image in enumerate(images, start=1):
        parts.append(_read_newest(datastore, sources[image], volumes, convert))
        progress(done, len(images))
    return LabelledSlices.joined(parts)


def _read_newest(
    datastore: PacsDatastore,
    sources: tuple[LabelSource, ...],
    volumes: VolumeStore,
    convert: Convert,
) -> LabelledSlices:
    """One image with the newest of its labels (newest first) that can be used."""
    image = sources[0].image
    volume = _read_image(datastore, image, volumes)
    if isinstance(volume, LabelledSlices):
        return volume
    patient = str(datastore.get_image_info(image).get("PatientID") or "UNK")
    grid = Grid(volume.affine, volume.shape)
    unusable: list[LabelledSlices] = []
    for source in sources:
        whose = source.seg.patient if patient == "UNK" and source.seg else patient
        try:
            read = datastore.labels.read(source, grid)
            found = convert(image, whose, volume, read.labels, read.names, read.reviewed)
            return LabelledSlices.joined([found, *unusable])
        except UnavailableError as error:
            datastore.segs.check_alive()
            unusable.append(_left_out(image, NOT_HANDED_OUT, error))
        except (Samed2dError, OSError) as error:
            unusable.append(_left_out(image, UNREADABLE, error))
    return LabelledSlices.joined(unusable)

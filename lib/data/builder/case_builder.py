"""The function that builds one case: read, slice, write. The same for every engine.

A case is written into a folder of its own and gets its place in the end. So a killed process
leaves nothing half done, and doing it again gives the same files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.data.builder.case_reader import ReadCase, read_case
from lib.data.builder.case_task import CaseTask
from lib.data.builder.folder import BuildFolder, CaseRecord
from lib.data.builder.naming import image_name, mask_name
from lib.data.builder.png import encode_png
from lib.data.builder.slicing import Picture, Skips, flat_picture, slice_volume
from lib.data.sa_med2d import IMAGES, MASKS
from lib.errors import Samed2dError


@dataclass(frozen=True)
class Outcome:
    """How it went with one case.

    Attributes:
        key: of the case.
        images: number of images that are there now.
        masks: number of masks that are there now.
        built: whether it had to be built; False: it was done before.
        error: why there is nothing of it; empty where there is.
    """

    key: str
    images: int = 0
    masks: int = 0
    built: bool = False
    error: str = ""


def build_case(task: CaseTask, out: Path) -> Outcome:
    """Build a case, or find it done. Whatever is wrong with its files is told, not raised."""
    folder = BuildFolder(out)
    try:
        digest = task.digest()
        record = folder.record(task.key)
        if record is not None and record.digest == digest:
            return Outcome(task.key, len(record.images), record.masks)
        record = _build(task, folder, digest)
    except (Samed2dError, MemoryError) as error:
        folder.forget(task.key)
        text = error.message if isinstance(error, Samed2dError) else "not enough memory"
        return Outcome(task.key, error=text)
    return Outcome(task.key, len(record.images), record.masks, built=True)


def _build(task: CaseTask, folder: BuildFolder, digest: str) -> CaseRecord:
    with task.at_hand(folder.scratch(task.key)) as files:
        case = read_case(files)
    part = folder.part(task.key)
    skips = Skips()
    images = {}
    for picture in pictures_of(task, case, skips):
        name = image_name(task.source.modality, task.source.dataset, task.word, picture.place)
        images[f"{name}.png"] = list(_write(picture, name, part))
    record = CaseRecord(
        key=task.key,
        digest=digest,
        patient=case.patient,
        images=images,
        skipped=dict(sorted(skips.counts.items())),
        warnings=list(case.warnings),
    )
    folder.publish(record, part)
    return record


def pictures_of(task: CaseTask, case: ReadCase, skips: Skips) -> Iterator[Picture]:
    """All pictures of a case that was read."""
    by_slice = task.source.intensity == "slice"
    if case.flat:
        layers = [(layer.labels, layer.ids) for layer in case.layers]
        return flat_picture(case.array, layers, by_slice, skips)
    return slice_volume(case.array, case.layers, task.source.axes, by_slice, skips)


def _write(picture: Picture, name: str, part: Path) -> Iterator[str]:
    """Write a picture and its masks; yields the names of the masks."""
    height, width = picture.pixels.shape[:2]
    _write_file(part / IMAGES / f"{name}.png", encode_png(picture.pixels))
    for found in picture.parts:
        file = f"{mask_name(name, found.class_id, found.instance)}.png"
        _write_file(part / MASKS / file, encode_png(found.mask((height, width))))
        yield file


def _write_file(path: Path, data: bytes) -> None:
    # Written under another name first (a folder of its own), so without waiting for the disk;
    # a power cut can leave a file short, which check_dataset.py finds.
    with path.open("xb") as file:
        file.write(data)

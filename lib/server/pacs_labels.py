"""The final labels of a PACS's images: saved, found again, and handed out as files.

A saved label is on the disk of this computer before `PacsLabels.save` returns (`journal`), and on
its way to the PACS (`delivery`). From that moment it is the newest label of its image for
everything here: status, training, clicks that start from it, and who asks for the file.

Concurrency contract: journal and delivery have their own locks, see there. ``_made`` is held while
a SEG is brought and converted, so that two requests for one label do it once.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from lib.errors import ImageError, NotFoundError, Samed2dError, UnavailableError
from lib.imaging.dicom_seg import SegLabels, merge_segs, read_seg
from lib.imaging.grid import ReadLimits
from lib.server.delivery import Delivery
from lib.server.journal import Journal, SavedLabel
from lib.server.label_check import Grid, LabelMap, grid_of, read_label_map
from lib.server.label_info import saved_facts
from lib.server.label_sources import LabelSource, sources_by_image
from lib.server.pacs_questions import room_for
from lib.server.pacs_segs import PacsSegs
from lib.server.stored_segs import StoredSeg
from lib.training.durable import write_whole

SAVE_SECONDS = 8.0
"""Who saves waits so long for the PACS; the label is safe before that."""

logger = logging.getLogger(__name__)


class Pacs(Protocol):
    """What this module needs of `lib.server.datastore.PacsDatastore`."""

    def image_file(self, image: str, /) -> Path:
        """The image, downloaded where necessary."""

    def study_of(self, image: str, /) -> str:
        """StudyInstanceUID."""


@dataclass(frozen=True)
class FinalLabel:
    """The final label of an image as a file.

    Attributes:
        path: a NIfTI file on the image's own grid; not to be changed.
        names: value -> name.
        source: where it is from.
    """

    path: Path
    names: Mapping[int, str]
    source: LabelSource

    def info(self) -> dict[str, Any]:
        """What clients of the host are told about it."""
        entry = self.source.entry
        facts: dict[str, Any] = {
            "label_info": [{"name": name, "idx": value} for value, name in self.names.items()],
            "SeriesInstanceUID": self.source.series,
            "name": self.path.name,
        }
        return facts if entry is None else facts | entry_facts(entry)


def entry_facts(entry: SavedLabel) -> dict[str, Any]:
    """What clients of the host are told about a label of the journal."""
    return {
        "user": entry.user,
        "saved": entry.saved,
        "model_version": entry.model_version,
        "prompts": entry.prompts,
        "reviewed": list(entry.reviewed),
        "stored": entry.state == "stored",
        "problem": entry.problem,
    }


class PacsLabels:
    """Final labels of one PACS.

    Args:
        pacs: where images are.
        segs: of the PACS.
        journal: of saved labels.
        delivery: to the PACS.
        folder: for SEGs of the PACS that were converted; a cache.
        limits: for images and label maps.
    """

    def __init__(
        self,
        pacs: Pacs,
        segs: PacsSegs,
        journal: Journal,
        delivery: Delivery,
        folder: Path,
        limits: ReadLimits,
    ) -> None:
        self._pacs, self._segs, self._folder, self._limits = pacs, segs, folder, limits
        self.journal, self.delivery = journal, delivery
        self._made = threading.Lock()

    def save(self, image: str, path: Path, info: Mapping[str, Any]) -> SavedLabel:
        """Keep a final label and begin to bring it to the PACS.

        Args:
            image: id of the image.
            path: of a label file on the image's grid, see `lib.server.label_check`.
            info: what the client said, see `lib.server.label_info`.

        Returns:
            Its journal entry, "stored" if the PACS has it already.

        Raises:
            ImageError: no label map of this image.
            NotFoundError: the PACS has no such image.
            UnavailableError: the disk does not take it.
        """
        grid, study = self._image(image)
        label = read_label_map(path, grid, self._limits)
        facts = saved_facts(info, label.present, label.values.shape[2])
        with TemporaryDirectory(prefix="samed2d-label-") as folder:
            file = Path(folder, "label.nii.gz")
            with room_for("a label", file.parent):
                label.write(file)
            entry = self.journal.add(image, file, facts, study)
        return self.delivery.deliver_now(entry.key, SAVE_SECONDS) or entry

    def _image(self, image: str) -> tuple[Grid | None, str]:
        """Grid and study of an image; nothing where the PACS is down and it was never opened."""
        try:
            grid = grid_of(self._pacs.image_file(image), self._limits)
            return grid, self._pacs.study_of(image)
        except UnavailableError as error:
            logger.warning("a label is kept without its image: %s", error.message)
            return None, ""

    def sources(
        self, failed: Callable[[str, Samed2dError], None] = lambda series, error: None
    ) -> dict[str, tuple[LabelSource, ...]]:
        """Image id -> its final labels, newest first.

        Args:
            failed: see `PacsSegs.listed`.

        Raises:
            UnavailableError: the PACS does not answer.
        """
        entries = self.journal.entries()  # before the PACS is asked, see there
        return sources_by_image(entries, self._segs.listed(failed))

    def read(self, source: LabelSource, grid: Grid) -> SegLabels:
        """A label map on the grid of its image.

        Raises:
            ImageError: it cannot be read.
            UnavailableError: the PACS does not hand it out.
        """
        entry, seg = source.entry, source.seg
        path = self.journal.label_file(entry) if entry is not None else None
        if entry is not None and path is not None:
            values = read_label_map(path, grid, self._limits).values
            return SegLabels(
                values.astype("uint16"), dict(entry.names), (), frozenset(entry.reviewed)
            )
        if seg is None:
            raise ImageError(got=f"saved label {entry.key if entry else ''}, whose file is gone")
        return self._download(seg, grid)

    def final(self, image: str, sources: tuple[LabelSource, ...]) -> FinalLabel | None:
        """The newest label of an image that can be read, as a file; None without one.

        Raises:
            UnavailableError: the PACS does not hand out its labels.
        """
        problem: UnavailableError | None = None
        for source in sources:
            try:
                return self._as_file(image, source)
            except UnavailableError as error:
                problem = problem or error
            except (Samed2dError, OSError) as error:
                logger.warning("label %s of image %s: %s", source.series, image, error)
        if problem is not None:
            raise problem
        return None

    def _as_file(self, image: str, source: LabelSource) -> FinalLabel:
        entry = source.entry
        path = self.journal.label_file(entry) if entry is not None else None
        if entry is not None and path is not None:
            return FinalLabel(path, dict(entry.names), source)
        assert source.seg is not None or entry is not None
        count = len(source.seg.instances) if source.seg else 0
        path = self._folder / f"{source.series}-{count}.nii.gz"
        names = path.with_name(f"{source.series}-{count}.json")
        with self._made:
            if not names.is_file():
                self._convert(image, source, path, names)
            known = json.loads(names.read_bytes())
        return FinalLabel(path, {int(value): name for value, name in known.items()}, source)

    def _convert(self, image: str, source: LabelSource, path: Path, names: Path) -> None:
        """Write a label of the PACS as a file; its names last."""
        grid = grid_of(self._pacs.image_file(image), self._limits)
        found = self.read(source, grid)
        values = found.labels if found.labels.max() > 255 else found.labels.astype("uint8")
        part = path.with_name(f".part-{path.name}")
        with room_for("a label", self._folder):
            self._folder.mkdir(exist_ok=True)
            LabelMap(values, grid.affine).write(part)
            part.replace(path)
            write_whole(names, json.dumps(dict(found.names)).encode(), part.with_suffix(".json"))

    def _download(self, seg: StoredSeg, grid: Grid) -> SegLabels:
        """The label map of a SEG series, whose files may hold a segment each."""
        parts = []
        with TemporaryDirectory(prefix="samed2d-seg-") as folder:
            for instance in seg.instances:
                if all(instance.sizes):
                    self._limits.check(instance.sizes, f"DICOM SEG {instance.uid}")
                path = self._segs.download(seg, instance, Path(folder))
                parts.append(read_seg(path, grid.affine, grid.shape, self._limits))
                path.unlink()
        merged = merge_segs(parts)
        for warning in merged.warnings:
            logger.warning("segmentation %s: %s", seg.series, warning)
        return merged


def no_label(image: str, tag: str) -> NotFoundError:
    """The error for an image without a label."""
    return NotFoundError(
        got=f"image {image[:128]!r}, which has no label {tag[:64]!r}",
        allowed="an image with such a label",
        todo="save a label first",
    )

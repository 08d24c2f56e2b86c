"""Brings saved labels to the PACS, as DICOM SEG, until it is proven to hold them.

Each try does the same: make the SEG, with the UIDs and dates of the journal, so that it is the same
one each time; send it unless the PACS lists it already; find it by QIDO-RS, bring it back by
WADO-RS and compare. Only then the journal marks it as stored. A try may end anywhere, also with the
process: the next one finds out how far it came, and nothing is ever in the PACS twice.

A PACS that does not answer is tried again after 2 s, 4 s, ... up to 5 minutes; where it answers
that it does not take a label, after up to an hour. A label that somebody saves is tried at once.

Concurrency contract: one daemon thread does all tries. ``_changed`` guards when each label is due
and how many tries it had, and is held for look-ups only, never while the PACS is asked. Of two
servers with one journal both may try one label; the PACS gets the same instance.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import pydicom
from pydicom.dataset import Dataset

from lib.errors import ImageError, RefusedError, Samed2dError, UnavailableError
from lib.imaging.grid import ReadLimits
from lib.imaging.seg_facts import SegFacts, SegSegment
from lib.imaging.seg_writer import write_seg
from lib.server.journal import Journal, SavedLabel
from lib.server.label_check import grid_of, read_label_map

LOOK_SECONDS = 60.0
"""How often the journal is looked at for labels that another process saved."""

logger = logging.getLogger(__name__)


class Archive(Protocol):
    """What delivery needs of a PACS; see `lib.server.pacs_archive`."""

    def series_files(self, image: str, /) -> Sequence[Path]:
        """The DICOM files of an image."""

    def image_file(self, image: str, /) -> Path:
        """The image."""

    def holds(self, study: str, series: str, instance: str) -> bool:
        """Whether it lists an instance."""

    def send(self, file: Dataset) -> None:
        """Store an instance."""

    def fetch(self, study: str, series: str, instance: str) -> Dataset:
        """Bring an instance back."""


@dataclass(frozen=True)
class Patience:
    """Seconds until a label is tried again.

    Attributes:
        first: after the first failure; each further one doubles it.
        longest: at most so long while the PACS does not answer.
        refused: at most so long where it does not take the label.
    """

    first: float = 2.0
    longest: float = 300.0
    refused: float = 3600.0

    def after(self, failures: int, refused: bool) -> float:
        """After so many failures in a row, at least one."""
        most = self.refused if refused else self.longest
        return min(self.first * 2.0 ** min(failures - 1, 30), most)


class Delivery:
    """Delivers the labels of a journal.

    Args:
        journal: where they are.
        archive: where they go.
        limits: for label maps and images.
        patience: between tries.
    """

    def __init__(
        self,
        journal: Journal,
        archive: Archive,
        limits: ReadLimits | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._journal, self._archive = journal, archive
        self._limits, self._patience = limits or ReadLimits(), patience or Patience()
        self._changed = threading.Condition()
        self._wanted: list[str] = []
        self._tries: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    def follow(self) -> None:
        """Begin to deliver; may be called again."""
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End after the try that is under way; what is not delivered stays in the journal."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def deliver_now(self, key: str, timeout: float) -> SavedLabel | None:
        """Try a label at once.

        Args:
            key: of its entry.
            timeout: seconds to wait for the end of the try; it goes on after that.

        Returns:
            The entry as it is then; None where it was set aside.
        """
        with self._changed:
            before = self._tries.get(key, 0)
            self._wanted.append(key)
            self._changed.notify_all()
        self.follow()
        with self._changed:
            self._changed.wait_for(lambda: self._tries.get(key, 0) > before, timeout)
        return self._journal.get(key)

    def _run(self) -> None:
        while not self._closed:
            try:
                key = self._next()
                if key is not None:
                    self._try(key)
            except Exception:  # nothing may end this thread
                logger.exception("delivery of saved labels")
                time.sleep(self._patience.first)

    def _next(self) -> str | None:
        """The label to try now; None after a while without one."""
        with self._changed:
            if self._wanted:
                return self._wanted.pop(0)
        pending = [entry.key for entry in self._journal.pending()]
        with self._changed:
            now = time.monotonic()
            waits = {key: self._due.get(key, 0.0) - now for key in pending}
            due = [key for key in pending if waits[key] <= 0]
            if due:
                return due[0]
            if not (self._wanted or self._closed):
                self._changed.wait(min([LOOK_SECONDS, *waits.values()]))
        return None

    def _try(self, key: str) -> None:
        entry = self._journal.get(key)
        try:
            if entry is not None and entry.state != "stored":
                self._deliver(entry)
        finally:
            with self._changed:
                self._tries[key] = self._tries.get(key, 0) + 1
                self._changed.notify_all()

    def _deliver(self, entry: SavedLabel) -> None:
        """One try, with its outcome in the journal."""
        try:
            deliver(entry, self._journal, self._archive, self._limits)
        except UnavailableError as error:
            self._failed(entry, error.message, refused=False)
        except Samed2dError as error:
            self._failed(entry, error.message, refused=True)
        except Exception as error:  # whatever it is, the label stays and is tried again
            logger.exception("saved label %s", entry.key)
            self._failed(entry, f"{type(error).__name__}: {error}"[:300], refused=False)
        else:
            self._journal.mark_stored(entry.key)
            with self._changed:
                self._failures.pop(entry.key, None)
                self._due.clear()  # it answers again: the others need not wait any longer
            logger.info("saved label %s of image %s is in the PACS", entry.key, entry.image)

    def _failed(self, entry: SavedLabel, problem: str, refused: bool) -> None:
        with self._changed:
            failures = self._failures[entry.key] = self._failures.get(entry.key, 0) + 1
            wait = self._patience.after(failures, refused)
            self._due[entry.key] = time.monotonic() + wait
        logger.warning(
            "saved label %s is not in the PACS yet, next try in %.0f s: %s",
            entry.key,
            wait,
            problem,
        )
        if (entry.problem, entry.state) != (problem, "refused" if refused else "pending"):
            self._journal.mark_problem(entry.key, problem, refused)


def deliver(entry: SavedLabel, journal: Journal, archive: Archive, limits: ReadLimits) -> None:
    """Bring one label to the PACS; when this returns, it is proven to be there.

    Raises:
        UnavailableError: the PACS does not answer, or does not hand out what it has; try again.
        RefusedError: it does not take the label, or holds something else under its UIDs.
        ImageError: the label does not fit the image.
    """
    with TemporaryDirectory(prefix="samed2d-seg-") as folder:
        file = pydicom.dcmread(make_seg(entry, journal, archive, limits, Path(folder)))
        uids = (str(file.StudyInstanceUID), entry.series_uid, entry.instance_uid)
        known = archive.holds(*uids)
        if not known:
            archive.send(file)
            known = archive.holds(*uids)
        if not known:
            raise UnavailableError(
                got="a label that the PACS took, and does not list yet",
                allowed="an answer of QIDO-RS that lists it",
                todo="nothing now, it is looked for again; if it stays so, look at its log",
            )
        if not same_content(file, archive.fetch(*uids)):
            raise RefusedError(
                got="another content than was sent, under the UID of a label",
                allowed="the same pixels and segments",
                todo=f"look at series {entry.series_uid} in the PACS",
            )


def make_seg(
    entry: SavedLabel, journal: Journal, archive: Archive, limits: ReadLimits, folder: Path
) -> Path:
    """Write the DICOM SEG of a label, the same one each time.

    Raises:
        ImageError: the label file is gone, or does not fit the image.
        UnavailableError: the PACS does not hand out the series.
    """
    path = journal.label_file(entry)
    if path is None:
        raise ImageError(got=f"saved label {entry.key}, whose file is gone")
    # Saved while the image could not be had, so not compared with it yet.
    grid = None if entry.study else grid_of(archive.image_file(entry.image), limits)
    label = read_label_map(path, grid, limits)
    names = dict(entry.names)
    values = label.present or sorted(names)[:1]
    segments = [
        SegSegment(value, names.get(value) or f"segment {value}", entry.algorithm)
        for value in values
    ]
    facts = SegFacts(
        series_uid=entry.series_uid,
        instance_uid=entry.instance_uid,
        created=entry.created,
        creator=entry.user,
        reviewed=frozenset(entry.reviewed),
        model_version=entry.model_version,
    )
    target = folder / "label.dcm"
    sources = archive.series_files(entry.image)
    write_seg(target, label.values, label.affine, segments, sources, facts)
    return target


_SAME = ("Rows", "Columns", "NumberOfFrames", "SegmentSequence", "PerFrameFunctionalGroupsSequence")


def same_content(sent: Dataset, got: Dataset) -> bool:
    """Whether what came back says the same about the image.

    Not byte by byte: a PACS may store pixels in another transfer syntax, and correct the patient.

    Args:
        sent: DICOM SEG.
        got: anything.
    """
    try:
        if any(sent.get(name) != got.get(name) for name in _SAME):
            return False
        same: bool = sent.PixelData == got.PixelData
        return same or bool((sent.pixel_array == got.pixel_array).all())
    except Exception:  # pydicom has no one error for what is no DICOM
        return False

"""Saved labels on this computer's disk until the PACS is proven to hold them, and their history.

One folder for each label, ``KEY/``:

* ``label.nii.gz``: the label map on the image's own grid, as it was saved;
* ``entry.json``: who saved what, when and from what, with the UIDs under which it goes to the PACS
  and the checksum of the label file; never changed;
* ``state.json``: how far it has come; rewritten as a whole.

A folder gets its name after all of it is on the disk, so a process that is killed leaves a whole
entry or none. What was damaged later is moved to ``damaged/`` and reported; nothing ends a start.

The journal is bounded: ``entry.json`` (about 1 KiB) stays for good, as the history of who labelled
what; the label file goes when the PACS is proven to hold the label and a newer one of the same
image is proven to be there too. So there is one label file for each image, and those under way.

Concurrency contract: ``_lock`` guards the parsed entries and is held while one is added or its
state changes. Entries are read from the disk each time, and parsed when they have changed: several
processes (server, training) and two servers of one PACS may use one folder, because every change is
one rename. Which of two servers delivers a label does not matter, its UIDs are in the entry.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from pydicom.uid import generate_uid

from lib.errors import UnavailableError
from lib.imaging.seg_facts import Algorithm
from lib.server.label_info import LabelFacts
from lib.training.durable import move_whole, sync, write_whole

State = Literal["pending", "stored", "refused"]
LABEL, ENTRY, STATE = "label.nii.gz", "entry.json", "state.json"
PART = ".part-"
DAMAGED = "damaged"
LEFT_OVER_SECONDS = 24 * 3600.0
"""Unfinished entries of processes that were killed are removed when they are so old."""

_KEY_TIME = "%Y%m%dT%H%M%S.%fZ"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SavedLabel(LabelFacts):
    """One saved label; what it inherits is what was said when it was saved.

    Attributes:
        key: name of its folder; keys sort by time.
        image: id of the image.
        tag: of the label.
        saved: when, ISO 8601 in UTC.
        written: the same moment in the server's own time zone, which DICOM files state.
        study: StudyInstanceUID, empty where it was not known.
        series_uid: SeriesInstanceUID of its DICOM SEG.
        instance_uid: SOPInstanceUID of its DICOM SEG.
        supersedes: key of the label of this image that was newest before; empty for the first.
        digest: SHA-256 of the label file in hexadecimal.
        state: "pending" (under way), "stored" (proven to be in the PACS), "refused" (the PACS, or
            the image, does not take it; it is tried again now and then).
        problem: a sentence on the last try that failed; empty if none did.
    """

    key: str
    image: str
    tag: str = "final"
    saved: str
    written: str
    study: str = ""
    series_uid: str
    instance_uid: str
    supersedes: str = ""
    digest: str
    state: State = "pending"
    problem: str = ""

    @property
    def created(self) -> datetime:
        """When it was saved, in the time zone that the server had."""
        return datetime.fromisoformat(self.written)

    @property
    def counts(self) -> bool:
        """Whether a person stands behind it: labels that a model made alone are no final ones."""
        return self.algorithm != "AUTOMATIC"


_OWN = tuple(f.name for f in fields(SavedLabel) if f.name not in ("state", "problem"))


class Journal:
    """Labels saved for the images of one PACS.

    Args:
        folder: where it lies; made with the first entry.
        now: the clock, in UTC.
    """

    def __init__(
        self, folder: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.folder, self._now = folder, now
        self._lock = threading.RLock()
        self._parsed: dict[str, tuple[object, SavedLabel]] = {}
        self._sweep()

    def add(self, image: str, label: Path, facts: LabelFacts, study: str = "") -> SavedLabel:
        """Keep a label; when this returns, it is on the disk.

        Args:
            image: id of the image.
            label: a .nii.gz file, which is copied.
            facts: what is known about it.
            study: StudyInstanceUID of the image, where known.

        Raises:
            UnavailableError: the disk does not take it; nothing was kept.
        """
        with self._lock:
            part = self.folder / f"{PART}{uuid.uuid4().hex}"
            try:
                part.mkdir(parents=True)
                shutil.copyfile(label, part / LABEL)
                entry = self._new_entry(image, part / LABEL, facts, study)
                _write_json(part / ENTRY, _as_json(entry))
                _write_json(part / STATE, {"state": entry.state, "problem": ""})
                move_whole(part, self.folder / entry.key)
                # Its own name must last too when the journal has just been made.
                sync(self.folder.parent)
            except OSError as error:
                shutil.rmtree(part, ignore_errors=True)
                raise UnavailableError(
                    got=f"a label that the disk of the journal does not take ({error.strerror})",
                    allowed=f"room in {self.folder}",
                    todo="make room there and save again; the label was NOT saved",
                ) from error
        return entry

    def entries(self) -> tuple[SavedLabel, ...]:
        """All labels, oldest first; what cannot be read is set aside."""
        with self._lock:
            found = [self._read(name) for name in self._names()]
            return tuple(entry for entry in found if entry is not None)

    def get(self, key: str) -> SavedLabel | None:
        """One label, or None."""
        with self._lock:
            return self._read(key) if key in self._names() else None

    def pending(self) -> tuple[SavedLabel, ...]:
        """Labels that the PACS is not proven to hold, oldest first."""
        return tuple(entry for entry in self.entries() if entry.state != "stored")

    def newest(self, image: str) -> SavedLabel | None:
        """The label of an image that was saved last, or None."""
        return max(
            (e for e in self.entries() if e.image == image), key=lambda e: e.key, default=None
        )

    def label_file(self, entry: SavedLabel) -> Path | None:
        """Its label file, or None where the file was dropped or is damaged."""
        path = self.folder / entry.key / LABEL
        try:
            whole = _digest(path) == entry.digest
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.error("%s cannot be read: %s", path, error)
            return None
        if not whole:
            self.set_aside(entry.key, "its label file has changed")
        return path if whole else None

    def mark_stored(self, key: str) -> None:
        """The PACS is proven to hold a label; drop what is superseded."""
        self._mark(key, "stored", "")
        self._drop_superseded()

    def mark_problem(self, key: str, text: str, refused: bool = False) -> None:
        """A try to deliver a label failed; it stays."""
        self._mark(key, "refused" if refused else "pending", text)

    def damaged(self) -> tuple[str, ...]:
        """Names of the entries that were set aside."""
        try:
            return tuple(sorted(path.name for path in (self.folder / DAMAGED).iterdir()))
        except OSError:
            return ()

    def set_aside(self, key: str, why: str) -> None:
        """Move an entry out of the way, for a person to look at."""
        target = self.folder / DAMAGED / key
        logger.error("saved label %s is damaged (%s); it was moved to %s", key, why, target)
        with self._lock:
            self._parsed.pop(key, None)
            try:
                target.parent.mkdir(exist_ok=True)
                (self.folder / key).rename(target)
            except OSError as error:  # reported is enough: it is skipped at each reading
                logger.error("it could not be moved: %s", error)

    def _new_entry(self, image: str, label: Path, facts: LabelFacts, study: str) -> SavedLabel:
        names = self._names()
        moment = self._now()
        if names:  # a clock that was set back must not make the newest label an old one
            moment = max(moment, _moment(names[-1]) + timedelta(microseconds=1))
        before = self.newest(image)
        return SavedLabel(
            **{f.name: getattr(facts, f.name) for f in fields(LabelFacts)},
            key=f"{moment.strftime(_KEY_TIME)}-{uuid.uuid4().hex[:8]}",
            image=image,
            saved=moment.isoformat(),
            written=moment.astimezone().isoformat(),
            study=study,
            series_uid=str(generate_uid()),
            instance_uid=str(generate_uid()),
            supersedes=before.key if before else "",
            digest=_digest(label),
        )

    def _names(self) -> list[str]:
        try:
            names = [path.name for path in self.folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            logger.error("the journal of saved labels cannot be read: %s", error)
            return []
        return sorted(name for name in names if not name.startswith(".") and name != DAMAGED)

    def _read(self, key: str) -> SavedLabel | None:
        """Parse an entry, where it has changed since the last time."""
        folder = self.folder / key
        known = self._parsed.get(key)
        try:
            status = (folder / STATE).stat()
            seen: object = (status.st_mtime_ns, status.st_ino, status.st_size)
        except OSError:
            seen = None
        if known is not None and known[0] == seen:
            return known[1]
        try:
            entry = _from_json(json.loads((folder / ENTRY).read_bytes()), key)
        except (OSError, ValueError, TypeError, KeyError) as error:
            self.set_aside(key, f"{ENTRY}: {error!r}")
            return None
        entry = replace(entry, **_state_of(folder / STATE))
        self._parsed[key] = seen, entry
        return entry

    def _mark(self, key: str, state: State, problem: str) -> None:
        with self._lock:
            file = self.folder / key / STATE
            data = json.dumps({"state": state, "problem": problem[:1000]}).encode()
            try:
                write_whole(file, data, file.with_name(f"{PART}{uuid.uuid4().hex}"))
            except OSError as error:
                # It is delivered once more, under the same UIDs, and marked then.
                logger.error("the state of saved label %s cannot be kept: %s", key, error)
            self._parsed.pop(key, None)

    def _drop_superseded(self) -> None:
        """Remove label files that the rule at the top lets go."""
        newer: set[str] = set()
        for entry in reversed(self.entries()):
            if entry.state == "stored":
                if entry.image in newer:
                    (self.folder / entry.key / LABEL).unlink(missing_ok=True)
                newer.add(entry.image)

    def _sweep(self) -> None:
        """Remove what processes left behind that were killed while they wrote."""
        try:
            parts = list(self.folder.glob(f"{PART}*"))
            old = time.time() - LEFT_OVER_SECONDS
            for part in parts:
                if part.stat().st_mtime < old:
                    shutil.rmtree(part, ignore_errors=True)
        except OSError as error:
            logger.error("the journal of saved labels cannot be tidied: %s", error)


def journal_folder(root: Path, pacs: str) -> Path:
    """Folder of the journal of one PACS.

    Args:
        root: of all journals, see `lib.options.default_journal`.
        pacs: address of its DICOMweb service.
    """
    return root / hashlib.sha256(pacs.rstrip("/").encode()).hexdigest()[:32]


def _moment(key: str) -> datetime:
    try:
        return datetime.strptime(key.split("-")[0], _KEY_TIME).replace(tzinfo=UTC)
    except ValueError:  # nothing of ours
        return datetime.min.replace(tzinfo=UTC)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1), encoding="utf-8")


def _as_json(entry: SavedLabel) -> dict[str, Any]:
    return {name: value for name, value in asdict(entry).items() if name in _OWN}


def _from_json(data: dict[str, Any], key: str) -> SavedLabel:
    """Checked as far as the rest relies on it; extra keys are those of a later version.

    Raises:
        ValueError, TypeError, KeyError: it is none of ours.
    """
    texts = {
        name: data[name]
        for name in _OWN
        if name not in ("names", "reviewed", "prompts", "algorithm")
    }
    if data["key"] != key or not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("texts")
    datetime.fromisoformat(texts["written"])
    algorithm: Algorithm = data["algorithm"]
    if algorithm not in get_args(Algorithm):
        raise ValueError("algorithm")
    return SavedLabel(
        **texts,
        names=tuple((int(value), str(name)) for value, name in data["names"]),
        reviewed=tuple(int(k) for k in data["reviewed"]),
        prompts=int(data["prompts"]),
        algorithm=algorithm,
    )


def _state_of(file: Path) -> dict[str, Any]:
    """What ``state.json`` says; where it is damaged the label is delivered once more."""
    try:
        data = json.loads(file.read_bytes())
        if data["state"] not in get_args(State):
            raise ValueError("state")
        return {"state": data["state"], "problem": str(data["problem"])}
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.error("%s cannot be read (%r); the label is delivered once more", file, error)
        return {"state": "pending", "problem": ""}

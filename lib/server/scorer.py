"""Scores the images of a datastore in the background, so that the next case is chosen at once.

Unlabelled images get an uncertainty and features, labelled ones features, see
`lib.server.score_slices`. A few slices of each image are looked at, in an order that has nothing to
do with names, so that the first scores already stand for all images. After a publication everything
is scored anew; embeddings on disk are taken from there, and until a new score is there the old one
stands.

It never gets in anybody's way: its arithmetic goes behind everything else on the worker of the
network, it stops while somebody clicks, it rests as long as it worked, and it begins at most
`ScorePlan.per_minute` images in a minute, which also bounds what it downloads from a PACS. An image
that cannot be read is not tried again before the next start; a PACS that does not answer is asked
again later.

Concurrency contract. One daemon thread does everything. It shares `ScoreStore` (with a lock of its
own), the worker of the network, and ``_status``, one immutable object that is replaced as a whole;
``_end`` and ``_again`` are set from any thread, ``_again`` under ``_lock``.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from monailabel.interfaces.datastore import Datastore

from lib.errors import Samed2dError, UnavailableError
from lib.imaging.volume import ReadLimits, Volume
from lib.inference.view import SliceView
from lib.learning.score_store import ScoreStore
from lib.server.dispatch import image_path
from lib.server.live_model import LiveModel
from lib.server.score_slices import labelled_slices, score_image, spread_slices
from lib.server.start_label import FILE_KEY, saved_label
from lib.server.volumes import VolumeStore

QUIET_SECONDS = 1.0
"""So long nobody may have clicked before it goes on."""
SHARE = 0.5
"""Of the time it works at most."""
IDLE_SECONDS = 5.0
"""Between two looks at the datastore when there is nothing to do."""
BACK_OFF_SECONDS = 60.0
"""After a PACS did not answer."""
TRIES = 3
"""So often an image is asked for that the PACS does not hand out."""
SAVE_SECONDS = 30.0
"""Between two files of scores while they change."""
EXIT_SECONDS = 20.0

logger = logging.getLogger(__name__)


class ServedNetwork(Protocol):
    """What this module needs of `lib.server.served_model.ServedModel`."""

    @property
    def loaded(self) -> LiveModel | None:
        """What answers now; None before the first load."""


class Viewer(Protocol):
    """What this module needs of `lib.server.infer.Samed2dInferTask`."""

    @property
    def model(self) -> ServedNetwork:
        """The network."""

    def view(self, volume: Volume, k: int) -> SliceView:
        """A slice as the network sees it when somebody clicks."""


@dataclass(frozen=True)
class ScorePlan:
    """How much is scored.

    Attributes:
        per_minute: images at most.
        slices: of each image.
        limits: of an image that is opened.
    """

    per_minute: int
    slices: int
    limits: ReadLimits


@dataclass(frozen=True)
class ScorerStatus:
    """How far it is.

    Attributes:
        doing: one phrase.
        scored: unlabelled images with a score of the version that answers.
        left: unlabelled images without.
        seconds_per_slice: mean time of work for a slice, 0 before the first one.
        failed: image -> why it cannot be scored.
    """

    doing: str = "waiting for the network"
    scored: int = 0
    left: int = 0
    seconds_per_slice: float = 0.0
    failed: tuple[tuple[str, str], ...] = ()


class Closed(Exception):  # noqa: N818 - no error
    """The server ends."""


@dataclass(frozen=True)
class _Job:
    image: str
    labelled: bool


class Scorer:
    """Keeps a `ScoreStore` filled.

    Args:
        viewer: the task of the network whose clicks it prepares.
        datastore: of the images.
        store: of the scores.
        plan: how much.
    """

    def __init__(
        self, viewer: Viewer, datastore: Callable[[], Datastore], store: ScoreStore, plan: ScorePlan
    ) -> None:
        self._viewer, self._datastore, self._store, self._plan = viewer, datastore, store, plan
        # Its own, which keeps nothing: the server's keeps what people look at.
        self._volumes = VolumeStore(0, plan.limits)
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._again: set[str] = set()
        self._status = ScorerStatus()
        self._version = ""
        self._saved = 0.0
        self._worked, self._slices, self._waited = 0.0, 0, 0.0
        self._failed: dict[str, str] = {}
        self._tries: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, name="score-slices", daemon=True)

    @property
    def status(self) -> ScorerStatus:
        """How far it is; from any thread."""
        return self._status

    def start(self) -> None:
        """Begin; to be called once, in the server only."""
        self._thread.start()
        # Inside of torch when Python ends, the thread would take the process down with it.
        atexit.register(self.close)

    def close(self) -> None:
        """End after the piece of work that runs now."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(EXIT_SECONDS)
        atexit.unregister(self.close)

    def label_changed(self, image: str) -> None:
        """Look at the labelled slices of an image again; from any thread."""
        with self._lock:
            self._again.add(image)

    def _run(self) -> None:
        try:
            while not self._end.is_set():
                self._pause(self._step())
        except Closed:
            pass
        finally:
            if self._version:
                self._store.save(self._version)

    def _step(self) -> float:
        """Score one image, if there is one; seconds to rest."""
        live = self._viewer.model.loaded
        if live is None or not _is_settled(live):
            return QUIET_SECONDS
        started, self._waited = time.monotonic(), 0.0
        job = None
        try:
            self._follow(live)
            job = self._next_job(live)
            if job is None:
                self._say(doing="everything is scored")
                self._save(0.0)
                return IDLE_SECONDS
            self._say(doing="scoring")
            slices = self._score(live, job)
        except (Closed, CancelledError):
            raise Closed from None
        except UnavailableError as error:
            return self._unavailable(job, error)
        except Exception as error:
            self._fail(job, error)
            return QUIET_SECONDS
        seconds = time.monotonic() - started - self._waited
        self._worked, self._slices = self._worked + seconds, self._slices + slices
        self._save(SAVE_SECONDS)
        return max(60.0 / self._plan.per_minute - seconds, seconds * (1 / SHARE - 1))

    def _follow(self, live: LiveModel) -> None:
        """Go over to the version that answers."""
        if live.model_version != self._version:
            if self._version:
                self._store.save(self._version)
            self._version = live.model_version
            self._store.load(self._version)

    def _next_job(self, live: LiveModel) -> _Job | None:
        """What to do: labelled images first, which are few and which diversity needs."""
        datastore = self._datastore()
        images = list(datastore.list_images())
        labelled = frozenset(datastore.get_labeled_images())
        self._store.retain(images)
        with self._lock:
            again, self._again = self._again, set()
        for image in again:
            self._store.forget(image)
        done, jobs = 0, []
        encoder = live.encoder.embedder.encoder_version
        for image in images:
            rows = self._store.get(image)
            if image in labelled:
                good = bool(rows) and rows[0].labelled and rows[0].encoder_version == encoder
            else:
                known = bool(rows) and not rows[0].labelled
                good = known and rows[0].model_version == live.model_version
                done += good
            if not good and image not in self._failed:
                jobs.append((image not in labelled, bool(rows), _mixed(image), image))
        left = sum(job[0] for job in jobs)
        self._say(scored=done, left=left)
        if not jobs:
            return None
        is_unlabelled, *_, image = min(jobs)
        return _Job(image, not is_unlabelled)

    def _score(self, live: LiveModel, job: _Job) -> int:
        """Score one image; how many slices."""
        self._turn(live)
        datastore = self._datastore()
        volume = self._volumes.get(Path(image_path(datastore, job.image)))
        if job.labelled:
            label = self._label(datastore, job.image)
            slices = labelled_slices(label, volume, self._plan.slices)
        else:
            slices = spread_slices(volume.n_slices, self._plan.slices)
        views = {k: self._viewer.view(volume, k) for k in slices}
        rows = score_image(live.segmenter, job.image, views, lambda: self._turn(live), job.labelled)
        self._store.put(job.image, rows)
        return len(rows)

    def _label(self, datastore: Datastore, image: str) -> Volume | None:
        try:
            file = saved_label(datastore, image).get(FILE_KEY)
            return None if file is None else self._volumes.get(Path(file))
        except UnavailableError:
            raise
        except Samed2dError as error:
            logger.info("label of %s: %s", image, error.message)
            return None

    def _turn(self, live: LiveModel) -> None:
        """Wait until nobody clicks.

        Raises:
            Closed: the server ends.
        """
        while (busy := QUIET_SECONDS - live.segmenter.worker.quiet_seconds()) > 0:
            self._pause(busy)
            self._waited += busy
        if self._end.is_set():
            raise Closed

    def _pause(self, seconds: float) -> None:
        if self._end.wait(seconds):
            raise Closed

    def _save(self, after: float) -> None:
        if time.monotonic() - self._saved >= after:
            self._store.save(self._version)
            self._saved = time.monotonic()

    def _unavailable(self, job: _Job | None, error: UnavailableError) -> float:
        """The PACS is down, or does not hand out one series."""
        logger.warning("scoring waits: %s", error.message)
        self._say(doing=f"waiting: {error.message}")
        if job is not None:
            self._tries[job.image] = self._tries.get(job.image, 0) + 1
            if self._tries[job.image] >= TRIES:
                self._fail(job, error)
        return BACK_OFF_SECONDS

    def _fail(self, job: _Job | None, error: Exception) -> None:
        """Remember why an image cannot be scored, so that it is not tried again and again."""
        expected = isinstance(error, Samed2dError)
        reason = error.message if isinstance(error, Samed2dError) else repr(error)
        if job is None:
            logger.error("images cannot be listed: %s", reason, exc_info=not expected)
            return
        logger.warning("%s cannot be scored: %s", job.image, reason, exc_info=not expected)
        self._failed[job.image] = reason
        self._say()

    def _say(
        self, doing: str | None = None, scored: int | None = None, left: int | None = None
    ) -> None:
        now = self._status
        self._status = replace(
            now,
            doing=now.doing if doing is None else doing,
            scored=now.scored if scored is None else scored,
            left=now.left if left is None else left,
            seconds_per_slice=self._worked / max(self._slices, 1),
            failed=tuple(self._failed.items()),
        )


def _is_settled(live: LiveModel) -> bool:
    """Whether no faster encoder is being prepared, whose embeddings would be others."""
    upgrade = live.encoder.upgrade
    return upgrade is None or upgrade.wait(0)


def _mixed(image: str) -> bytes:
    """A place in an order that has nothing to do with names, and is always the same."""
    return hashlib.sha256(image.encode()).digest()

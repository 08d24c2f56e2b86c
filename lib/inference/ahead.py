"""The other slices of a volume, encoded while nobody waits.

The first click in a volume says that its neighbours will be looked at next. They are encoded from
the clicked slice outward, one at a time: a batch would be no faster on a CPU, and a click waits for
the piece of work that runs.

A volume is held by a weak reference: encoding ahead is no reason to keep its voxels, and a volume
that the cache of volumes gave up is given up here too.

Concurrency contract: ``_changed`` (a condition with its lock) guards the table of volumes and is
held for look-ups only. One daemon thread does the work, through the worker of the network and
behind everybody's clicks. Nothing is raised to whoever asks; an error ends the volume it
happened in and is logged.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field

from lib.imaging.volume import Volume
from lib.inference.embedder import SliceEmbedder
from lib.inference.view import SliceView
from lib.inference.worker import Priority, PriorityWorker

MAX_VOLUMES = 4
"""So many volumes are worked on, the last one asked for first; older ones are given up."""
IDLE_SECONDS = 600.0
"""A volume that nobody clicked in for so long is given up."""
POLL_SECONDS = 0.2
SHARE = 0.5
"""Of what the caches hold at most: one volume must not push out all others, or itself."""

Views = Callable[[int], SliceView | None]
"""Slice -> what the network sees of it; None where the volume is there no more."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AheadProgress:
    """How far a volume is: ``done`` of ``total`` slices are encoded.

    ``total`` counts those that are to be encoded, which of a volume too large for the caches are
    the ones around the last click. Nothing is done any more where ``active`` is false. ``slices``
    are those that are done, in ascending order.
    """

    name: str
    done: int
    total: int
    active: bool
    slices: tuple[int, ...] = ()


@dataclass
class _Volume:
    """A volume that is worked on, or was."""

    views: Views
    total: int
    centre: int = -1
    done: set[int] = field(default_factory=set)
    left: set[int] = field(default_factory=set)
    failed: bool = False
    used: float = 0.0

    def aim(self, centre: int, capacity: int) -> None:
        """Go on around another slice, with at most ``capacity`` slices."""
        if centre != self.centre and capacity < self.total:
            # Those around the earlier slice may have been forgotten since.
            self.done.clear()
        self.centre, self.used = centre, time.monotonic()
        if not self.failed:
            self.left = set(volume_order(centre, self.total)[:capacity]) - self.done


class EncodeAhead:
    """Encodes the slices of volumes that somebody looks at.

    Args:
        embedder: of the network; whatever it has encoded already is not encoded again.
        worker: of the network.
        ready: asked before each slice; while it says no, nothing is done (a faster encoder is
            about to come, say).
        idle_seconds: see `IDLE_SECONDS`.
    """

    def __init__(
        self,
        embedder: SliceEmbedder,
        worker: PriorityWorker,
        ready: Callable[[], bool] = lambda: True,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._embedder = embedder
        self._worker = worker
        self._ready = ready
        self._idle_seconds = idle_seconds
        self._changed = threading.Condition()
        self._volumes: dict[str, _Volume] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="encode-ahead", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # before the worker is closed, which was made earlier

    def want(self, name: str, total: int, centre: int, views: Views) -> AheadProgress:
        """Say that somebody looks at slice ``centre`` of a volume.

        Args:
            name: of the volume; the same for the same voxels and settings.
            total: number of its slices.
            centre: where to begin; of a known volume, where to go on.
            views: slice -> what the network sees; from `views_of`, so that the voxels are not
                kept for this.

        Returns:
            How far the volume is.
        """
        with self._changed:
            volume = self._volumes.pop(name, None) or _Volume(views, total)
            volume.views = views
            volume.aim(centre, self._capacity())
            self._volumes[name] = volume  # at the end: the last one asked for
            while len(self._volumes) > MAX_VOLUMES:
                del self._volumes[next(iter(self._volumes))]
            self._changed.notify()
            return self._progress_of(name)

    def forget(self, name: str) -> None:
        """Give a volume up."""
        with self._changed:
            self._volumes.pop(name, None)

    def progress(self) -> tuple[AheadProgress, ...]:
        """How far each volume is, the last one asked for first."""
        with self._changed:
            return tuple(self._progress_of(name) for name in reversed(self._volumes))

    def close(self) -> None:
        """End the thread after the slice that is being encoded."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        atexit.unregister(self.close)

    def _capacity(self) -> int:
        """How many slices of one volume are kept."""
        return max(1, int(SHARE * self._embedder.store.max_bytes / self._embedder.nbytes))

    def _progress_of(self, name: str) -> AheadProgress:
        volume = self._volumes[name]
        planned = len(volume.done | volume.left)
        done = tuple(sorted(volume.done))
        return AheadProgress(name, len(done), planned, bool(volume.left), done)

    def _run(self) -> None:
        # Nothing of a step is held while the next one is waited for.
        while self._step():
            pass

    def _step(self) -> bool:
        """Encode one slice; False when closed."""
        work = self._next()
        if work is None:
            return False
        name, volume, k = work
        try:
            is_there = self._encode(volume.views(k))
        except Exception:
            # Not tried again with each click, which would only write the same to the log.
            logger.exception("slice %d of %s could not be encoded ahead", k, name)
            with self._changed:
                volume.failed = True
                volume.left.clear()
            return True
        if not is_there:
            self.forget(name)
        with self._changed:
            volume.left.discard(k)
            volume.done.add(k)
        return True

    def _encode(self, view: SliceView | None) -> bool:
        """Encode a slice that is there; whether it is."""
        if view is None:
            return False
        # The name of the slice is found here, and not while others wait for the worker.
        if not self._embedder.knows(view):
            self._worker.run(Priority.AHEAD, lambda: self._embedder.embed(view))
        return True

    def _next(self) -> tuple[str, _Volume, int] | None:
        """What to encode now; waits for it. None when closed."""
        with self._changed:
            while not self._closed:
                self._drop_idle()
                busy = [(n, v) for n, v in self._volumes.items() if v.left]
                if busy and self._ready():
                    name, volume = busy[-1]
                    return name, volume, min(volume.left, key=lambda k: _rank(k, volume.centre))
                self._changed.wait(POLL_SECONDS if busy else None)
            return None

    def _drop_idle(self) -> None:
        oldest = time.monotonic() - self._idle_seconds
        for name in [n for n, v in self._volumes.items() if v.used < oldest and v.left]:
            logger.info("%s is no longer looked at, its other slices are not encoded", name)
            del self._volumes[name]


def views_of(volume: Volume, view: Callable[[Volume, int], SliceView]) -> Views:
    """The slices of a volume as long as somebody else keeps it.

    Args:
        volume: held by a weak reference.
        view: volume and slice -> what the network sees; must not hold the volume itself.
    """
    held = weakref.ref(volume)

    def of_slice(k: int) -> SliceView | None:
        there = held()
        return None if there is None else view(there, k)

    return of_slice


def volume_order(centre: int, total: int) -> list[int]:
    """All slices from the centre outward: k, k + 1, k - 1, k + 2, ..."""
    return sorted(range(total), key=lambda k: _rank(k, centre))


def _rank(k: int, centre: int) -> tuple[int, bool]:
    return abs(k - centre), k < centre

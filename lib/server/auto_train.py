"""Trains by itself after so many newly labelled images (option ``auto_train``).

Images are counted, not saves: whoever corrects a label five times has labelled one image. The
count is kept on disk, so that a restart does not begin it anew.

Concurrency contract: one condition guards the count and its file; it is never held while a training
is started. One daemon thread starts trainings, one at a time: while one is running, its own or
one that somebody asked for, it waits and looks again.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from monailabel.utils.async_tasks.task import AsyncTask

from lib.options import AppOptions
from lib.training.durable import write_whole
from lib.training.registry import registry_folder

FILE = "auto_train.json"
RETRY_SECONDS = 5.0
"""Until it is tried again while another training runs."""

QUICK = {"train": "decoder", "max_epochs": 5}
"""Settings of these trainings, see `lib.training.settings`; everything else is the default."""

logger = logging.getLogger(__name__)


def follow_labels(options: AppOptions, model: str) -> AutoTrain | None:
    """Begin to train a model by itself; None where option ``auto_train`` is 0."""
    if options.auto_train == 0:
        return None
    trainer = AutoTrain(options.auto_train, lambda: start(model), registry_folder(options))
    trainer.follow()
    return trainer


def start(model: str) -> bool:
    """Start the quick training of a model as ``POST /train/{model}`` does; False if one runs."""
    task, _ = AsyncTask.run("train", request={"model": model, **QUICK})
    return task is not None


class AutoTrain:
    """Counts labelled images and starts a training when there are enough.

    Args:
        every: images until the next training.
        start: begins a training; False where one is running.
        folder: where the count is kept.
        retry: seconds, see `RETRY_SECONDS`.
    """

    def __init__(
        self,
        every: int,
        start: Callable[[], bool],
        folder: Path,
        retry: float = RETRY_SECONDS,
    ) -> None:
        self._every, self._start, self._retry = every, start, retry
        self._file = folder / FILE
        self._changed = threading.Condition()
        self._images = self._read()
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Images labelled since the last training began."""
        with self._changed:
            return len(self._images)

    def follow(self) -> None:
        """Begin to start trainings; to be called once, in the server only."""
        self._thread = threading.Thread(target=self._run, name="auto-train", daemon=True)
        self._thread.start()

    def saved(self, image: str) -> None:
        """A final label of an image was saved."""
        with self._changed:
            self._images.add(image)
            self._write()
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(self._images) >= self._every)
                learned = set(self._images)
            if not self._begin():
                threading.Event().wait(self._retry)
                continue
            logger.info("training starts by itself: %d newly labelled images", len(learned))
            with self._changed:
                self._images -= learned
                self._write()

    def _begin(self) -> bool:
        try:
            return self._start()
        except Exception:  # whatever it is, the next try may succeed
            logger.exception("the training could not be started")
            return False

    def _read(self) -> set[str]:
        try:
            images = json.loads(self._file.read_text(encoding="utf-8"))["images"]
            return {str(image) for image in images}
        except FileNotFoundError:
            return set()
        except (OSError, ValueError, TypeError, KeyError):
            logger.warning("%s cannot be read, counting begins anew", self._file)
            return set()

    def _write(self) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            data = json.dumps({"images": sorted(self._images)}).encode()
            write_whole(self._file, data, self._file.with_name(f".part-{FILE}"))
        except OSError as error:  # a full disk must not end somebody's save
            logger.warning("the count of labelled images cannot be kept: %s", error)

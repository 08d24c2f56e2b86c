"""Images and labels of a folder as MONAI Label's datastore, written so that nothing is lost.

Of the host's `LocalDatastore` (0.8.5, datastore/local.py):

* it copies a label onto the one before: a process that is killed then leaves half of a file, and
  the label before is lost; here a file is whole or not there, and the label before is kept;
* its list of images and labels is written in place, and a torn one ends the next start; here it is
  replaced as a whole, a damaged one is set aside, and the list is made again from the files. What
  only the list knew, such as who saved a label, is then known from the damaged one alone.

Labels that were replaced lie in ``labels/replaced/IMAGE/``, the newest `KEPT` of each image.

Concurrency contract: ``_turn`` is held while the list changes, by requests and by the thread that
watches the folder; the host's file lock keeps other processes away meanwhile and is taken under it,
never before.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import monailabel.datastore.local as host_local
from monailabel.datastore.local import DataModel, LocalDatastore
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.exception import ImageNotFoundException

from lib.server.audit import mark_of
from lib.server.standing import Standing
from lib.training.durable import sync

FINAL = str(DefaultLabelTag.FINAL.value)
REPLACED = "replaced"
KEPT = 20
"""Replaced labels of an image that are kept."""

logger = logging.getLogger(__name__)


class SafeLocalDatastore(LocalDatastore):  # type: ignore[misc]  # the host has no types
    """A folder of images, and what was saved of them."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Take the arguments of the host's class."""
        self._turn = threading.RLock()
        super().__init__(*args, **kwargs)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """As the host's, which takes its file lock first: another order than all others here."""
        with self._turn:
            return str(super().add_image(image_id, image_filename, image_info))

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Save a label; when this returns, it is on the disk, and the one before is kept.

        Args:
            image_id: of a listed image.
            label_filename: a file, which is copied.
            label_tag: "final" or another one.
            label_info: what is known about it.

        Returns:
            Its id, which is the image's.

        Raises:
            ImageNotFoundException: no such image.
            OSError: the disk does not take it; the label before is in its place.
        """
        with self._turn, self._file_lock():
            image = self._datastore.objects.get(image_id)
            if image is None:
                raise ImageNotFoundException(f"Image {image_id} not found")
            suffix = str(self._to_id(Path(label_filename).name)[1])
            folder = Path(self._datastore.label_path(label_tag))
            place = folder / self._filename(image_id, suffix)
            before = self._path_of(image_id, label_tag)
            facts = {**(label_info or {}), "ts": int(time.time()), "name": place.name}
            changed = DataModel(info=facts, ext=suffix)
            # All that needs room comes before anything is replaced.
            with _beside(place) as part, _beside(self._list) as part_of_list:
                shutil.copyfile(label_filename, part)
                sync(part)
                self._write_list(part_of_list, image, label_tag, changed)
                if before is not None and label_tag == FINAL:
                    self._keep(image_id, before)
                part.replace(place)
                sync(folder)
                self._take_list(part_of_list)
            image.labels[label_tag] = changed
            if before is not None and before != place:
                before.unlink(missing_ok=True)
        return image_id

    def standing(self, image: str, fresh: bool = True) -> Standing | None:
        """The final label of an image, see `lib.server.standing`."""
        path = self._path_of(image, FINAL)
        try:
            status = None if path is None else path.stat()
        except FileNotFoundError:
            status = None
        if status is None:
            return Standing()
        facts = self.get_label_info(image, FINAL)
        moment = datetime.fromtimestamp(status.st_mtime, UTC)
        revision = f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"
        return Standing(revision, str(facts.get("user") or ""), moment.isoformat())

    def _path_of(self, image: str, tag: str) -> Path | None:
        label = self._datastore.label(image, tag)
        if label is None:
            return None
        return Path(self._datastore.label_path(tag), self._filename(image, label.ext))

    def _keep(self, image: str, path: Path) -> None:
        """Give a label that is about to be replaced a second name, under which it stays."""
        folder = Path(self._datastore.label_path(REPLACED), image)
        suffix = str(self._to_id(path.name)[1])
        try:
            stamp = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            folder.mkdir(parents=True, exist_ok=True)
            kept = folder / f"{stamp}-{uuid.uuid4().hex[:8]}{suffix}"
            try:
                os.link(path, kept)
            except OSError:  # a file system without second names
                shutil.copy2(path, kept)
            sync(folder)
            for old in sorted(folder.iterdir())[:-KEPT]:
                old.unlink(missing_ok=True)
        except FileNotFoundError:
            logger.warning("the label of image %s was removed by hand", mark_of(image))

    def _reconcile_datastore(self) -> None:
        """What the host does with each change of the folder, one thread at a time."""
        with self._turn:
            super()._reconcile_datastore()

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        """Read the list where it has changed; a damaged one is set aside."""
        path = self._list
        with self._turn:
            try:
                super()._init_from_datastore_file(throw_exception=True)
            except ValueError as error:
                aside = path.with_name(f"{path.stem}-damaged-{time.strftime('%Y%m%dT%H%M%S')}")
                said = "%s is damaged; it was moved to %s, and the list is made again: %s"
                logger.error(said, path, aside.name, str(error)[:200])
                path.replace(aside)

    def _update_datastore_file(self, lock: bool = True) -> None:
        """Replace the list.

        Args:
            lock: take the host's file lock; not where the caller holds it.
        """
        with (
            self._turn,
            self._file_lock() if lock else nullcontext(),
            _beside(self._list) as part,
        ):
            self._write_list(part)
            self._take_list(part)

    @property
    def _list(self) -> Path:
        return Path(self._datastore_config_path)

    def _write_list(
        self, part: Path, image: Any = None, tag: str = "", changed: Any = None
    ) -> None:
        """Write the list beside its place, with one label as it will be."""
        before = None if image is None else image.labels.get(tag)
        try:
            if image is not None:
                image.labels[tag] = changed
            listed = self._datastore.model_dump(exclude={"base_path"})
        finally:
            if image is not None:
                del image.labels[tag]
            if before is not None:
                image.labels[tag] = before
        part.write_text(json.dumps(listed, indent=2, default=str), encoding="utf-8")
        sync(part)

    def _take_list(self, part: Path) -> None:
        part.replace(self._list)
        sync(self._list.parent)
        self._config_ts = self._list.stat().st_mtime

    def _file_lock(self) -> AbstractContextManager[object]:
        lock: AbstractContextManager[object] = host_local.FileLock(self._lock_file)
        return lock


@contextmanager
def _beside(place: Path) -> Iterator[Path]:
    """A name for a file that will take the place of another; what is left of it is removed."""
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".part-{uuid.uuid4().hex}")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)

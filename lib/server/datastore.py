"""Images and labels of a PACS (DICOMweb) as MONAI Label's datastore, without its traps.

Of the host's `DICOMWebDatastore` (0.8.5, datastore/dicom.py):

* its lists of images are two hours old at worst, because their cache is fixed when the module is
  imported; here they are as old as ``MONAI_LABEL_DICOMWEB_CACHE_EXPIRY`` says, and a second in
  this app;
* any series counts as an image that its filter lets through; here SEG, reports and other objects
  without pixels never do;
* series are decoded in the server's own process; here in a child, see `lib.imaging.trial`;
* a folder that is not empty counts as a downloaded series, also after an interrupted download;
  here a series is downloaded beside its place, counted and moved;
* the first request for an image gets a temporary copy that nobody removes;
* a label is lost where the PACS does not take it, an empty one always, and of several in the PACS
  any may be the one that counts; see `lib.server.pacs_labels`;
* what lies in the folder is compared with the list of it by every request that adds an image and by
  the thread that watches the folder, at the same time, each iterating over what the other changes;
* ``get_label_uri`` takes an image's id for that of a SEG, and ``datalist`` deletes labels of this
  computer that the PACS does not list.

Ids are SeriesInstanceUIDs; they become names of folders and are checked before that.

Concurrency contract: ``_lock`` is held while a series is downloaded and converted, so that two
users who open one image at the same time download it once. ``_lists`` has a lock that is held for
look-ups only; it is filled without one: two threads may ask the PACS the same at the same time,
and agree. ``_files_lock`` is held while the folder is listed; it may be taken under ``_lock``, not
the other way round.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from cachetools import TTLCache
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from pydicom.dataset import Dataset

from lib.errors import RequestError, Samed2dError, UnavailableError
from lib.imaging.grid import ReadLimits
from lib.options import AppOptions, default_journal
from lib.server.delivery import Delivery
from lib.server.journal import Journal, SavedLabel, journal_folder
from lib.server.local_datastore import SafeLocalDatastore
from lib.server.odd_files import check_series, convert_series, expect_series
from lib.server.pacs_archive import PacsArchive
from lib.server.pacs_labels import FinalLabel, PacsLabels, entry_facts
from lib.server.pacs_questions import (
    ask,
    check_uid,
    limit_patience,
    room_for,
    unknown_series,
)
from lib.server.pacs_segs import PacsSegs
from lib.server.series_download import SeriesDownload, beside
from lib.server.standing import Standing
from lib.training.durable import sync

NO_IMAGES = {
    *("SEG", "SR", "PR", "KO", "REG", "FID", "AU", "DOC", "ECG", "EPS", "HD", "PLAN", "ASMT"),
    *("RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "SMR", "STAIN", "TEXTUREMAP", "ANN", "M3D"),
}
"""Modalities (DICOM PS3.3, C.7.3.1.1.1) whose objects hold no image to segment."""

FINAL = str(DefaultLabelTag.FINAL.value)

Value = TypeVar("Value")
logger = logging.getLogger(__name__)


class PacsDatastore(SafeLocalDatastore, DICOMWebDatastore):  # type: ignore[misc]  # no types
    """Series of a PACS that are images, downloaded completely or not at all."""

    def __init__(self, *args: object, journal: Path | None = None, **kwargs: object) -> None:
        """Take the arguments of `DICOMWebDatastore`; asks the PACS nothing yet.

        Args:
            args: of the host's class.
            journal: folder of saved labels; `default_journal` where None.
            kwargs: of the host's class.
        """
        self._lock = threading.Lock()
        self._files_lock = threading.RLock()
        self._lists_lock = threading.Lock()
        self._lists: TTLCache[str, Any] = TTLCache(
            maxsize=4, ttl=settings.MONAI_LABEL_DICOMWEB_CACHE_EXPIRY
        )
        super().__init__(*args, **kwargs)
        limit_patience(self._client)
        self.segs = PacsSegs(self._client)
        self._limits = ReadLimits()
        self._series = SeriesDownload(self._client, bool(self._fetch_by_frame), self._try_series)
        self.labels = self._open_labels(journal or default_journal())

    def use(self, options: AppOptions) -> None:
        """Take what concerns it from the options; to be called before the first request."""
        self._limits = ReadLimits(max_voxels=options.max_voxels)
        self.labels = self._open_labels(options.journal or default_journal())

    def _try_series(self, folder: Path) -> None:
        """See that a series can be read, unless it is to be converted, which a child does."""
        if not self._convert_to_nifti:
            check_series(folder, self._limits)

    def _open_labels(self, journals: Path) -> PacsLabels:
        journal = Journal(journal_folder(journals, str(self._client.base_url)))
        archive = PacsArchive(self._client, self.series_files, self.image_file)
        delivery = Delivery(journal, archive, self._limits)
        converted = Path(self._datastore_path, "converted-labels")
        return PacsLabels(self, self.segs, journal, delivery, converted, self._limits)

    def list_images(self) -> list[str]:
        """SeriesInstanceUIDs of all images the filter lets through.

        Raises:
            UnavailableError: the PACS does not answer.
        """
        return self._remember("images", self._query_images)

    def get_labeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
    ) -> list[str]:
        """SeriesInstanceUIDs of listed images that have a final label, see `label_sources`.

        Raises:
            UnavailableError: the PACS does not answer.
        """
        return self._remember("labelled", self._query_labelled)

    def get_image_uri(self, image_id: str) -> str:
        """Path of the image's NIfTI file (or DICOM folder), downloaded where necessary.

        Raises:
            NotFoundError: the PACS has no such series.
            UnavailableError: the PACS does not answer, or sent fewer files than it has.
            ImageError: the files of the series make no image.
        """
        check_uid(image_id)
        folder = Path(self._datastore.image_path(), image_id).resolve()
        if not self._convert_to_nifti:
            with self._lock:
                self._series.bring(image_id, folder)
            return str(folder)
        image = folder.with_name(f"{image_id}.nii.gz")
        with self._lock:
            if not image.exists():
                self._series.bring(image_id, folder)
                self._convert(image_id, folder, image)
        return str(image)

    def series_facts(self, image_id: str) -> dict[str, Any]:
        """Study, patient and modality of a series, asked from the PACS unless it was downloaded.

        Raises:
            NotFoundError: the PACS has no such series.
            UnavailableError: the PACS does not answer.
        """
        known = dict(self.get_image_info(image_id))
        known.pop("path", None)  # of the copy here, which a client must not take for its own
        if "StudyInstanceUID" in known:
            return known
        try:
            return dict(ask(lambda: self._dicom_info(image_id)))
        except UnavailableError as error:
            if isinstance(error.__cause__, IndexError):  # an empty list
                raise unknown_series(image_id) from error
            raise

    def image_file(self, image: str) -> Path:
        """As `get_image_uri`."""
        return Path(self.get_image_uri(image))

    def series_files(self, image: str) -> list[Path]:
        """The DICOM files of a series, downloaded where necessary; raises as `get_image_uri`."""
        folder = Path(self._datastore.image_path(), check_uid(image)).resolve()
        with self._lock:
            self._series.bring(image, folder)
        return sorted(path for path in folder.iterdir() if path.is_file())

    def study_of(self, image: str) -> str:
        """StudyInstanceUID of a series that the PACS has."""
        return str(self.series_facts(image).get("StudyInstanceUID") or "")

    def _convert(self, uid: str, folder: Path, image: Path) -> None:
        """Write the NIfTI file ``image`` of a series, whole or not at all, and register it."""
        info = ask(lambda: self._dicom_info(uid))
        with room_for("an image", image.parent), beside(image.parent) as folder_of_part:
            part = Path(folder_of_part, image.name)
            convert_series(folder, part, self._limits)
            sync(part)
            part.replace(image)
        with self._files_lock:
            self.refresh()
            self.update_image_info(uid, info)

    def _reconcile_datastore(self) -> None:
        """What the host does with each change of the folder, one thread at a time."""
        with self._files_lock:
            super()._reconcile_datastore()

    def save_label(
        self,
        image_id: str,
        label_filename: str,
        label_tag: str,
        label_info: dict[str, Any],
        label_id: str = "",
    ) -> str:
        """Save a label; returns its id, which is the image's.

        A final label goes to the journal and to the PACS, see `PacsLabels.save`, which also says
        what is raised. Others stay on this computer.
        """
        if label_tag == FINAL:
            return self.save_final(image_id, Path(label_filename), label_info).image
        self.get_image_uri(image_id)  # the host knows images that were opened
        with room_for("a label", Path(self._datastore_path)):
            saved = super().save_label(image_id, label_filename, label_tag, label_info)
        return str(saved)

    def save_final(self, image: str, path: Path, info: dict[str, Any]) -> SavedLabel:
        """Save a final label; as `PacsLabels.save`. The image counts as labelled at once."""
        saved = self.labels.save(check_uid(image), path, info)
        self.forget_lists()
        return saved

    def standing(self, image: str, fresh: bool = False) -> Standing | None:
        """The final label of an image, see `lib.server.standing`."""
        if fresh:
            self.forget_lists()
        newest = self.labels.journal.newest(check_uid(image))
        try:
            sources = self._remember("sources", self.labels.sources).get(image, ())
        except UnavailableError:
            return None if newest is None else _standing(newest)
        if not sources:
            return Standing()
        first, *others = sources
        standing = _standing(first.entry) if first.entry else Standing(first.series)
        return replace(standing, older=frozenset(source.series for source in others))

    def forget_lists(self) -> None:
        """Ask the PACS anew for what there is."""
        with self._lists_lock:
            self._lists.clear()

    def final_label(self, image: str) -> FinalLabel | None:
        """The final label of an image as a file; None where it has none.

        Raises:
            UnavailableError: the PACS does not answer.
        """
        sources = self._remember("sources", self.labels.sources)
        return self.labels.final(image, sources.get(image, ()))

    def get_label_uri(self, label_id: str, label_tag: str, image_id: str = "") -> str:
        """Path of a label file; empty where there is none.

        Args:
            label_id: that of the image.
            label_tag: "final" or another one.
            image_id: not used.

        Raises:
            UnavailableError: the PACS does not answer.
        """
        if label_tag != FINAL:
            return str(LocalDatastore.get_label_uri(self, label_id, label_tag))
        found = self.final_label(label_id)
        return "" if found is None else str(found.path)

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """What is known about a label; nothing where there is none."""
        if label_tag != FINAL:
            return dict(LocalDatastore.get_label_info(self, label_id, label_tag))
        found = self.final_label(label_id)
        return {} if found is None else found.info()

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Tag -> label id of all labels of an image."""
        found = dict(LocalDatastore.get_labels_by_image_id(self, image_id))
        found.pop(FINAL, None)
        sources = self._remember("sources", self.labels.sources)
        return found | ({FINAL: image_id} if sources.get(image_id) else {})

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label of this computer.

        Raises:
            RequestError: a final label, which is in the PACS.
        """
        if label_tag == FINAL:
            raise RequestError(
                got="a request to remove a final label",
                allowed="other labels; final ones of a PACS are never removed from here",
                todo="save a corrected label, or delete the series in the PACS",
            )
        LocalDatastore.remove_label(self, label_id, label_tag)

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Image and label files of all labelled images; what cannot be had is left out.

        Raises:
            UnavailableError: the PACS does not answer.
        """
        found = []
        for image in self.get_labeled_images():
            try:
                label = self.final_label(image)
                if label is not None:
                    found.append({"image": self.get_image_uri(image), "label": str(label.path)})
            except Samed2dError as error:
                self.segs.check_alive()
                logger.warning("image %s left out: %s", image, error.message)
        return found

    def status(self) -> dict[str, Any]:
        """Numbers of images and labels, as the host's; final labels are those of the PACS too."""
        status = dict(super().status())
        status["label_tags"] = status["label_tags"] | {FINAL: status["completed"]}
        return status

    def json(self) -> dict[str, Any]:
        """All that is known of the images that were opened, with the labels saved here."""
        data: dict[str, Any] = LocalDatastore.json(self)
        for entry in self.labels.journal.entries():
            known = data["objects"].get(entry.image)
            if known is not None and entry.counts:
                known["labels"][FINAL] = {"ext": ".nii.gz", "info": entry_facts(entry)}
        return data

    def _remember(self, name: str, question: Callable[[], Value]) -> Value:
        with self._lists_lock:
            found: Value | None = self._lists.get(name)
        if found is None:
            found = question()
            with self._lists_lock:
                self._lists[name] = found
        return found

    def _query_images(self) -> list[str]:
        return ask(
            lambda: [
                str(series.SeriesInstanceUID)
                for series in map(
                    Dataset.from_json,
                    self._client.search_for_series(search_filters=self._search_filter),
                )
                if series.get("Modality") not in NO_IMAGES
            ]
        )

    def _query_labelled(self) -> list[str]:
        labelled = self._remember("sources", self.labels.sources)
        return [uid for uid in self.list_images() if uid in labelled]


def _standing(entry: SavedLabel) -> Standing:
    return Standing(entry.series_uid, entry.user, entry.saved)


def configured(datastore: Datastore, options: AppOptions, deliver: bool) -> Datastore:
    """The host's datastore; that of a PACS with its options.

    Args:
        datastore: any of the host's.
        options: of the app.
        deliver: begin to deliver labels that were saved before; in the server only.
    """
    if isinstance(datastore, PacsDatastore):
        datastore.use(options)
        if deliver:
            expect_series()
            datastore.labels.delivery.follow()
    return datastore

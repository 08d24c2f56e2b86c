"""Images of a PACS (DICOMweb) as MONAI Label's datastore, without its four traps.

Of the host's `DICOMWebDatastore` (0.8.5, datastore/dicom.py):

* its lists of images are two hours old at worst, because their cache is fixed when the module is
  imported; here they are as old as ``MONAI_LABEL_DICOMWEB_CACHE_EXPIRY`` says, and a second in
  this app;
* any series counts as an image that its filter lets through; here SEG, reports and other objects
  without pixels never do;
* a folder that is not empty counts as a downloaded series, also after an interrupted download;
  here a series is downloaded beside its place, counted and moved;
* the first request for an image gets a temporary copy that nobody removes.

Ids are SeriesInstanceUIDs; they become names of folders and are checked before that.

Concurrency contract: ``_lock`` is held while a series is downloaded and converted, so that two
users who open one image at the same time download it once. ``_lists`` and ``_segs`` are
filled without a lock: two threads may ask the PACS the same at the same time, and agree.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import requests
from cachetools import TTLCache
from dicomweb_client import DICOMwebClient
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import LocalDatastore
from monailabel.datastore.utils.convert import dicom_to_nifti
from monailabel.datastore.utils.dicom import dicom_web_download_series
from monailabel.interfaces.datastore import DefaultLabelTag
from pydicom.dataset import Dataset
from requests.adapters import HTTPAdapter

from lib.errors import ImageError, NotFoundError, Samed2dError, UnavailableError
from lib.imaging.grid import reading
from lib.server.stored_segs import UID, SegInstance, StoredSeg, parse_seg_series

NO_IMAGES = {
    *("SEG", "SR", "PR", "KO", "REG", "FID", "AU", "DOC", "ECG", "EPS", "HD", "PLAN", "ASMT"),
    *("RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "SMR", "STAIN", "TEXTUREMAP", "ANN", "M3D"),
}
"""Modalities (DICOM PS3.3, C.7.3.1.1.1) whose objects hold no image to segment."""

TIMEOUT = (5.0, 60.0)
"""Seconds until a connection stands, and between two pieces of an answer."""

AS_STORED = (("application/dicom", "*"),)
"""Media type and transfer syntax of a question for files (DICOM PS3.18, 8.7.3.5.2)."""

Value = TypeVar("Value")
logger = logging.getLogger(__name__)


class PacsDatastore(DICOMWebDatastore):  # type: ignore[misc]  # the host has no types
    """Series of a PACS that are images, downloaded completely or not at all."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Take the arguments of `DICOMWebDatastore`; asks the PACS nothing yet."""
        self._lock = threading.Lock()
        self._segs: dict[tuple[str, str], StoredSeg] = {}
        self._lists: TTLCache[str, list[str]] = TTLCache(
            maxsize=2, ttl=settings.MONAI_LABEL_DICOMWEB_CACHE_EXPIRY
        )
        super().__init__(*args, **kwargs)
        _limit_patience(self._client)

    def list_images(self) -> list[str]:
        """SeriesInstanceUIDs of all images the filter lets through.

        Raises:
            UnavailableError: the PACS does not answer.
        """
        return self._remember("images", self._query_images)

    def get_labeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
    ) -> list[str]:
        """SeriesInstanceUIDs of listed images that a SEG of the PACS refers to.

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
        if not UID.fullmatch(image_id) or len(image_id) > 64:
            raise _unknown_series(image_id)
        folder = Path(self._datastore.image_path(), image_id).resolve()
        if not self._convert_to_nifti:
            with self._lock:
                self._download(image_id, folder)
            return str(folder)
        image = folder.with_name(f"{image_id}.nii.gz")
        with self._lock:
            if not image.exists():
                self._download(image_id, folder)
                self._convert(image_id, folder, image)
        return str(image)

    def _convert(self, uid: str, folder: Path, image: Path) -> None:
        """Write the NIfTI file ``image`` of a series, whole or not at all, and register it."""
        try:
            made = Path(dicom_to_nifti(str(folder)))
        except RuntimeError as error:
            raise ImageError(
                got=f"series {uid}, whose files make no image ({str(error).splitlines()[-1]})",
                allowed="the image files of one series",
                todo="open another series of the study",
            ) from error
        with _beside(image.parent) as part:
            # Not renamed at once: the system's temporary folder may lie on another disk.
            shutil.move(made, Path(part, image.name))
            Path(part, image.name).replace(image)
        self.refresh()
        self.update_image_info(uid, _ask(lambda: self._dicom_info(uid)))

    def save_label(self, *args: object, **kwargs: object) -> str:
        """Save a label as the host does; the image counts as labelled at once."""
        label = str(_ask(lambda: DICOMWebDatastore.save_label(self, *args, **kwargs)))
        self._lists.clear()
        return label

    def _remember(self, name: str, ask: Callable[[], list[str]]) -> list[str]:
        found = self._lists.get(name)
        if found is None:
            found = self._lists[name] = ask()
        return found

    def _query_images(self) -> list[str]:
        answers = _ask(lambda: self._client.search_for_series(search_filters=self._search_filter))
        series = [Dataset.from_json(answer) for answer in answers]
        return [str(s.SeriesInstanceUID) for s in series if s.get("Modality") not in NO_IMAGES]

    def _query_labelled(self) -> list[str]:
        labelled = {seg.image for seg in self.segmentations()}
        return [uid for uid in self.list_images() if uid in labelled]

    def segmentations(
        self, failed: Callable[[str, Samed2dError], None] = lambda series, error: None
    ) -> list[StoredSeg]:
        """All SEG series of the PACS, newest first.

        What a SEG says never changes, so each is looked at once, and again when it has got
        further instances.

        Args:
            failed: called with the UID of each series whose metadata the PACS does not hand out.

        Raises:
            UnavailableError: the PACS does not answer.
        """
        answers = _ask(lambda: self._client.search_for_series(search_filters={"Modality": "SEG"}))
        segs = []
        for answer in map(Dataset.from_json, answers):
            study, uid = str(answer.StudyInstanceUID), str(answer.SeriesInstanceUID)
            key = uid, str(answer.get("NumberOfSeriesRelatedInstances", ""))
            try:
                if key not in self._segs:
                    self._segs[key] = self._look_at_seg(study, uid)
                segs.append(self._segs[key])
            except (ImageError, UnavailableError) as error:
                self.check_alive()
                logger.warning("segmentation left out: %s", error.message)
                failed(uid, error)
        return sorted(segs, key=lambda seg: seg.age_key, reverse=True)

    def _look_at_seg(self, study: str, uid: str) -> StoredSeg:
        return parse_seg_series(
            study, uid, _ask(lambda: self._client.retrieve_series_metadata(study, uid))
        )

    def check_alive(self) -> None:
        """Pass where the PACS answers: whatever failed before concerns one series.

        Raises:
            UnavailableError: it does not.
        """
        _ask(lambda: self._client.search_for_series(search_filters={"Modality": "SEG"}))

    def download_seg(self, seg: StoredSeg, instance: SegInstance, folder: Path) -> Path:
        """Bring one file of a SEG series into a folder.

        Raises:
            UnavailableError: the PACS does not hand it out.
            ImageError: what it handed out is no DICOM file.
        """
        path = folder / f"{instance.uid}.dcm"
        with reading(path, "DICOM SEG"):
            dataset = _ask(
                lambda: self._client.retrieve_instance(
                    seg.study, seg.series, instance.uid, media_types=AS_STORED
                )
            )
            dataset.save_as(path)
        return path

    def own_copy(self, seg: StoredSeg) -> tuple[Path, dict[str, Any]] | None:
        """The label file that became this SEG here, with what is known about it.

        It knows names and reviewed slices, which a SEG of the host loses. None where the SEG was
        made elsewhere, or the copy is gone.
        """
        info = self.get_label_info(seg.image, DefaultLabelTag.FINAL)
        known = "label_info" in info or "params" in info
        if not known or info.get("SeriesInstanceUID") != seg.series:
            return None
        path = Path(LocalDatastore.get_label_uri(self, seg.image, DefaultLabelTag.FINAL))
        return (path, info) if path.is_file() else None

    def _download(self, uid: str, folder: Path) -> None:
        """Bring a whole series into ``folder``, or leave nothing there."""
        found = _ask(
            lambda: self._client.search_for_series(search_filters={"SeriesInstanceUID": uid})
        )
        series = [Dataset.from_json(answer) for answer in found]
        series = [s for s in series if s.get("SeriesInstanceUID") == uid]
        if not series:
            raise _unknown_series(uid)
        study = str(series[0].StudyInstanceUID)
        expected = len(_ask(lambda: self._client.search_for_instances(study, uid)))
        if folder.is_dir():
            if len(list(folder.iterdir())) >= expected:
                return
            logger.warning("series %s was downloaded in part, it is downloaded again", uid)
            shutil.rmtree(folder)
        with _beside(folder.parent) as part:
            arriving = Path(part, uid)
            _ask(lambda: self._retrieve(study, uid, arriving))
            got = len(list(arriving.iterdir()))
            if got < expected:
                raise UnavailableError(
                    got=f"{got} of {expected} files of series {uid}",
                    allowed="the whole series",
                    todo="try again; if it stays so, look at the log of the PACS",
                )
            arriving.rename(folder)

    def _retrieve(self, study: str, uid: str, folder: Path) -> None:
        """Download the files as the PACS stores them.

        The host asks for them uncompressed, and an archive that cannot decode what it stores,
        such as Orthanc with JPEG 2000, answers 500. Whoever reads the files here can decode them.
        """
        if self._fetch_by_frame:
            dicom_web_download_series(study, uid, str(folder), self._client, True)
            return
        folder.mkdir()
        found = self._client.retrieve_series(study, uid, media_types=AS_STORED)
        for number, instance in enumerate(found):
            instance.save_as(folder / f"{number:05d}.dcm")


def _beside(store: Path) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder on the disk of the store; not in it, where the host watches each file."""
    return tempfile.TemporaryDirectory(prefix=".part-", dir=store.parent)


class _LimitedAdapter(HTTPAdapter):
    """Waits for a PACS as long as `TIMEOUT` says unless a call says otherwise."""

    def send(self, *args: object, **kwargs: object) -> requests.Response:
        """Send a request; as its base class."""
        kwargs["timeout"] = kwargs.get("timeout") or TIMEOUT
        return super().send(*args, **kwargs)  # type: ignore[arg-type]  # passed through


def _limit_patience(client: DICOMwebClient) -> None:
    """Keep a silent PACS from stopping the server.

    The host answers one request at a time, so everybody waits for the PACS. The client of 0.8.5
    waits for an answer without end, and tries an address where nobody listens for 30 s.
    """
    client.set_http_retry_params(max_attempts=2, wait_exponential_multiplier=250)
    for scheme in ("http://", "https://"):
        client._session.mount(scheme, _LimitedAdapter())


def _ask(question: Callable[[], Value]) -> Value:
    """Call the PACS; its silence becomes an error that says so."""
    try:
        return question()
    except requests.RequestException as error:
        reason = str(error).split("\n")[0][:200]
        raise UnavailableError(
            got=f"no usable answer from the PACS ({reason})",
            allowed="a DICOMweb server that answers QIDO-RS and WADO-RS",
            todo="check that it runs and that the address and the account are right",
        ) from error


def _unknown_series(image_id: str) -> NotFoundError:
    return NotFoundError(
        got=f"image {image_id[:128]!r}",
        allowed="the SeriesInstanceUID of a series in the PACS",
        todo="choose an image from GET /datastore/?output=all",
    )

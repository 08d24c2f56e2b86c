"""A series of a PACS brought to this computer, completely or not at all."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from dicomweb_client import DICOMwebClient
from monailabel.datastore.utils.dicom import dicom_web_download_series
from pydicom.dataset import Dataset

from lib.errors import UnavailableError
from lib.server.pacs_questions import AS_STORED, ask, room_for, unknown_series
from lib.training.durable import move_whole

logger = logging.getLogger(__name__)


class SeriesDownload:
    """Downloads series of one PACS; who calls it lets one thread do so for a series.

    Args:
        client: for its DICOMweb service.
        by_frame: ask for metadata and frames instead of files, as the host does where it is told
            to.
        check: raises an error of a series, of which then nothing is kept.
    """

    def __init__(
        self, client: DICOMwebClient, by_frame: bool, check: Callable[[Path], None]
    ) -> None:
        self._client, self._fetch_by_frame, self._check = client, by_frame, check

    def bring(self, uid: str, folder: Path) -> None:
        """Bring a whole series into ``folder``, or leave nothing there.

        Raises:
            NotFoundError: the PACS has no such series.
            UnavailableError: it does not answer, sends fewer files than it has, or the disk is
                full.
            ImageError: the check found something wrong.
        """
        found = ask(
            lambda: self._client.search_for_series(search_filters={"SeriesInstanceUID": uid})
        )
        series = ask(lambda: [Dataset.from_json(answer) for answer in found])
        series = [s for s in series if s.get("SeriesInstanceUID") == uid]
        if not series:
            raise unknown_series(uid)
        study = str(series[0].StudyInstanceUID)
        expected = len(ask(lambda: self._client.search_for_instances(study, uid)))
        if folder.is_dir():
            if len(list(folder.iterdir())) >= expected:
                return
            logger.warning("series %s was downloaded in part, it is downloaded again", uid)
            shutil.rmtree(folder)
        with room_for("a series", folder.parent), beside(folder.parent) as part:
            arriving = Path(part, uid)
            ask(lambda: self._retrieve(study, uid, arriving))
            got = len(list(arriving.iterdir()))
            if got < expected:
                raise UnavailableError(
                    got=f"{got} of {expected} files of series {uid}",
                    allowed="the whole series",
                    todo="try again; if it stays so, look at the log of the PACS",
                )
            self._check(arriving)
            move_whole(arriving, folder)

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


def beside(store: Path) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder on the disk of the store; not in it, where the host watches each file."""
    return tempfile.TemporaryDirectory(prefix=".part-", dir=store.parent)

"""The DICOM SEG series of a PACS: which there are, and their files.

Concurrency contract: ``_known`` is filled without a lock: two threads may ask the PACS the same at
the same time, and agree.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset

from lib.errors import ImageError, Samed2dError, UnavailableError
from lib.imaging.grid import reading
from lib.server.pacs_questions import AS_STORED, ask
from lib.server.stored_segs import SegInstance, StoredSeg, parse_seg_series

logger = logging.getLogger(__name__)


class PacsSegs:
    """SEG series of one PACS.

    Args:
        client: for its DICOMweb service.
    """

    def __init__(self, client: DICOMwebClient) -> None:
        self._client = client
        self._known: dict[tuple[str, str], StoredSeg] = {}

    def listed(
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
        answers = ask(
            lambda: [
                (str(found.StudyInstanceUID), str(found.SeriesInstanceUID), _size_of(found))
                for found in map(Dataset.from_json, self._query())
            ]
        )
        segs = []
        for study, uid, size in answers:
            key = uid, size
            try:
                if key not in self._known:
                    self._known[key] = self._look_at(study, uid)
                segs.append(self._known[key])
            except (ImageError, UnavailableError) as error:
                self.check_alive()
                logger.warning("segmentation left out: %s", error.message)
                failed(uid, error)
        return sorted(segs, key=lambda seg: seg.age_key, reverse=True)

    def check_alive(self) -> None:
        """Pass where the PACS answers: whatever failed before concerns one series.

        Raises:
            UnavailableError: it does not.
        """
        ask(self._query)

    def download(self, seg: StoredSeg, instance: SegInstance, folder: Path) -> Path:
        """Bring one file of a SEG series into a folder.

        Raises:
            UnavailableError: the PACS does not hand it out.
            ImageError: it cannot be written.
        """
        path = folder / f"{instance.uid}.dcm"
        with reading(path, "DICOM SEG"):
            dataset = ask(
                lambda: self._client.retrieve_instance(
                    seg.study, seg.series, instance.uid, media_types=AS_STORED
                )
            )
            dataset.save_as(path)
        return path

    def _query(self) -> list[dict[str, Any]]:
        filters = {"Modality": "SEG"}
        found: list[dict[str, Any]] = self._client.search_for_series(search_filters=filters)
        return found

    def _look_at(self, study: str, uid: str) -> StoredSeg:
        return parse_seg_series(
            study, uid, ask(lambda: self._client.retrieve_series_metadata(study, uid))
        )


def _size_of(series: Dataset) -> str:
    return str(series.get("NumberOfSeriesRelatedInstances", ""))

"""A PACS in memory that answers like a DICOMweb client, and fails where it is told to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import requests
from pydicom.dataset import Dataset


class MemoryPacs:
    """Holds DICOM files; to be given to a datastore in the place of its client.

    Attributes:
        files: all instances.
        down: nothing answers any more.
        refuses: HTTP status of the answer to a STOW; 0 where it is stored.
        stows: how many instances it was given.
        pages: whether it knows limit and offset of a question for series.
        broken: SeriesInstanceUIDs whose files and metadata are answered with an error.
        questions: what was asked, in order.
    """

    base_url = "http://pacs.invalid/dicom-web"

    def __init__(self, files: Iterable[Path] = ()) -> None:
        self.files = [pydicom.dcmread(path) for path in files]
        self.down = False
        self.refuses = 0
        self.stows = 0
        self.pages = True
        self.broken: set[str] = set()
        self.questions: list[str] = []
        self._session = SimpleNamespace(mount=lambda *args: None)

    def set_http_retry_params(self, **kwargs: object) -> None:
        """Accepted; nothing is tried again here."""

    def search_for_series(
        self,
        search_filters: dict[str, str],
        fields: object = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[dict[str, Any]]:
        self._ask("series")
        found: dict[str, dict[str, Any]] = {}
        for file in self.files:
            if all(str(file.get(name)) == value for name, value in search_filters.items()):
                answer = Dataset()
                for name in ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "PatientID"):
                    setattr(answer, name, file.get(name))
                answer.NumberOfSeriesRelatedInstances = len(self._of(file.SeriesInstanceUID))
                found[str(file.SeriesInstanceUID)] = answer.to_json_dict()
        if not self.pages:
            return list(found.values())
        return list(found.values())[offset:][:limit]

    def search_for_instances(
        self, study: str, series: str, search_filters: dict[str, str] | None = None
    ) -> list[dict[str, Any]]:
        self._ask("instances")
        found = []
        for file in self._of(series):
            if all(str(file.get(key)) == value for key, value in (search_filters or {}).items()):
                answer = Dataset()
                answer.SOPInstanceUID = file.SOPInstanceUID
                found.append(answer.to_json_dict())
        return found

    def store_instances(self, datasets: Iterable[Dataset]) -> Dataset:
        self._ask("store")
        for dataset in datasets:
            self.stows += 1
            if self.refuses:
                response = requests.Response()
                response.status_code = self.refuses
                response.raise_for_status()
            if not any(file.SOPInstanceUID == dataset.SOPInstanceUID for file in self.files):
                self.files.append(deepcopy(dataset))
        return Dataset()

    def retrieve_series(self, study: str, series: str, media_types: object = None) -> list[Dataset]:
        self._ask("retrieve", series)
        return self._of(series)

    def iter_series(self, study: str, series: str, media_types: object = None) -> Iterator[Dataset]:
        self._ask("retrieve", series)
        for file in self._of(series):
            self.questions.append("sent one")
            yield file

    def retrieve_series_metadata(self, study: str, series: str) -> list[dict[str, Any]]:
        self._ask("metadata", series)
        return [_without_pixels(file).to_json_dict() for file in self._of(series)]

    def retrieve_instance(
        self, study: str, series: str, instance: str, media_types: object = None
    ) -> Dataset:
        self._ask("instance", series)
        return next(file for file in self._of(series) if file.SOPInstanceUID == instance)

    def _of(self, series: str) -> list[Dataset]:
        return [file for file in self.files if file.SeriesInstanceUID == series]

    def _ask(self, what: str, series: str = "") -> None:
        self.questions.append(what)
        if self.down:
            raise requests.ConnectionError("refused")
        if series in self.broken:
            raise requests.HTTPError("500 Server Error")


def _without_pixels(file: Dataset) -> Dataset:
    header = Dataset()
    header.update({tag: file[tag] for tag in file.keys() if tag != 0x7FE00010})  # noqa: SIM118
    return header

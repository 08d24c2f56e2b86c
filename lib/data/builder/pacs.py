"""The labelled series of a PACS (DICOMweb) as cases: found by its index, downloaded one by one.

A case is an image series that `Source.images` finds and that a label series found by
`Source.labels` refers to. Only UIDs are kept of all cases together; the files of one lie on the
disk while it is built. An account comes from ``~/.netrc``.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl

from dicomweb_client import DICOMwebClient
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from lib.data.builder.case_task import FORMAT, CaseTask, word_of
from lib.data.builder.description import Source
from lib.data.builder.naming import salted
from lib.errors import UnavailableError
from lib.imaging.dicomweb import AS_STORED, ask, limit_patience
from lib.imaging.seg_facts import MANUFACTURER, is_uid

PAGE = 200
"""Series that are asked for at a time."""

OLDER = "an older label series of the same image is passed over"
_DATES = ("SeriesDate", "ContentDate", "StructureSetDate", "InstanceCreationDate")
_TAGS = {
    f"{tag_for_keyword(name):08X}"
    for name in (
        *(*_DATES, *(date.replace("Date", "Time") for date in _DATES), "SOPInstanceUID"),
        *("ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence"),
        *("Manufacturer", "SegmentSequence"),
    )
}
"""All that is looked at: metadata describe every frame, and name the patient."""


@dataclass(frozen=True)
class Series:
    """A series of the PACS.

    Attributes:
        study: StudyInstanceUID.
        uid: SeriesInstanceUID.
        count: of its instances, as the PACS says; 0 where it does not.
    """

    study: str
    uid: str
    count: int


@dataclass(frozen=True)
class LabelSeries:
    """A series with SEG or RTSTRUCT.

    Attributes:
        series: where it is.
        image: SeriesInstanceUID of what it was drawn on; empty where it does not say.
        written: date and time as digits.
        automatic: drawn by a model of this project and looked at by nobody.
    """

    series: Series
    image: str
    written: str
    automatic: bool


@dataclass(frozen=True)
class PacsTask(CaseTask):
    """A case whose files are still in the PACS.

    Attributes:
        series: with the image.
        drawn: series with its labels, oldest first.
    """

    series: Series = Series("", "", 0)
    drawn: tuple[Series, ...] = ()

    def digest(self) -> str:
        """As of other cases; what has a UID never changes in a PACS."""
        text = f"{FORMAT} {self.source} {sorted(self.ids.items())} {self.series} {self.drawn}"
        return hashlib.sha256(f"{text} {salted(self.name, self.salt)}".encode()).hexdigest()

    @contextmanager
    def at_hand(self, folder: Path) -> Iterator[CaseTask]:
        """Download the case into a folder, which goes afterwards.

        Raises:
            UnavailableError: the PACS does not answer, or hands out less than it has.
        """
        client = _client(self.source.root)
        images = folder / "image"
        images.mkdir(parents=True)
        try:
            _download(client, self.series, images)
            for number, series in enumerate(self.drawn):
                labels = folder / f"labels{number}"
                labels.mkdir()
                _download(client, series, labels)
            files = sorted(path for path in folder.glob("labels*/*") if path.is_file())
            yield CaseTask(
                *(self.source, self.ids, self.name, self.word, images),
                *(dict.fromkeys(files, ""), self.salt, self.warnings),
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def pacs_cases(source: Source, ids: Mapping[str, str], salt: str) -> Iterator[PacsTask]:
    """The cases of a PACS, in the order of their UIDs.

    Raises:
        UnavailableError: it does not answer.
    """
    client = _client(source.root)
    images = {series.uid: series for series in _search(client, source.images)}
    studies = {series.study for series in images.values()}
    labels: dict[str, list[LabelSeries]] = defaultdict(list)
    for series in _search(client, source.labels):
        # Labels lie in the study of their image, so the others need not be looked at.
        if series.study in studies:
            found = _look_at(client, series)
            if found.image in images and not found.automatic:
                labels[found.image].append(found)
    for uid in sorted(labels):
        drawn = sorted(labels[uid], key=lambda found: (found.written, found.series.uid))
        kept = drawn[-1:] if source.versions == "newest" else drawn
        yield PacsTask(
            *(source, ids, uid, word_of(uid, source, salt), Path(), {}, salt),
            warnings=(OLDER,) * (len(drawn) > len(kept)),
            series=images[uid],
            drawn=tuple(found.series for found in kept),
        )


def _client(address: str) -> DICOMwebClient:
    client = DICOMwebClient(address)
    limit_patience(client)
    return client


def _search(client: DICOMwebClient, query: str) -> list[Series]:
    """All series that a query finds, asked for in pages."""
    filters = dict(parse_qsl(query))
    found: dict[str, Series] = {}
    for offset in itertools.count(step=PAGE):
        page = ask(partial(_series_of, client, filters, offset))
        new = {series.uid: series for series in page if series.uid not in found}
        found |= new
        # A PACS that does not know pages answers everything each time.
        if not new:
            break
    return list(found.values())


def _series_of(client: DICOMwebClient, filters: Mapping[str, str], offset: int) -> list[Series]:
    answers = client.search_for_series(
        search_filters=dict(filters),
        fields=["NumberOfSeriesRelatedInstances"],
        limit=PAGE,
        offset=offset,
    )
    found = []
    for answer in map(Dataset.from_json, answers):
        count = int(answer.get("NumberOfSeriesRelatedInstances") or 0)
        series = Series(str(answer.StudyInstanceUID), str(answer.SeriesInstanceUID), count)
        if not is_uid(series.study) or not is_uid(series.uid):
            raise ValueError("a series without UIDs")
        found.append(series)
    return found


def _look_at(client: DICOMwebClient, series: Series) -> LabelSeries:
    answers = ask(lambda: client.retrieve_series_metadata(series.study, series.uid))
    files = ask(
        lambda: [
            Dataset.from_json({tag: item[tag] for tag in _TAGS & item.keys()}) for item in answers
        ]
    )
    image = next((uid for file in files for uid in _referenced(file)), "")
    written = max((_moment(file, name) for file in files for name in _DATES), default="")
    automatic = bool(files) and all(map(_is_automatic, files))
    return LabelSeries(series, image, written, automatic)


def _referenced(file: Dataset) -> Iterator[str]:
    """SeriesInstanceUIDs that a SEG (C.8.20) or an RTSTRUCT (C.8.8.5) was drawn on."""
    yield from _uids(file.get("ReferencedSeriesSequence"))
    for frame in file.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            yield from _uids(study.get("RTReferencedSeriesSequence"))


def _uids(items: Sequence[Dataset] | None) -> Iterator[str]:
    yield from filter(None, (str(item.get("SeriesInstanceUID") or "") for item in items or ()))


def _moment(file: Dataset, name: str) -> str:
    date = str(file.get(name) or "")
    return date + str(file.get(name.replace("Date", "Time")) or "") if date.isdigit() else ""


def _is_automatic(file: Dataset) -> bool:
    segments = file.get("SegmentSequence") or ()
    kinds = {str(segment.get("SegmentAlgorithmType") or "") for segment in segments}
    return str(file.get("Manufacturer") or "") == MANUFACTURER and kinds == {"AUTOMATIC"}


def _download(client: DICOMwebClient, series: Series, folder: Path) -> None:
    """Write the files of a series as they arrive, so that one at a time is in memory."""

    def receive() -> int:
        number = 0
        arriving = client.iter_series(series.study, series.uid, media_types=AS_STORED)
        for number, instance in enumerate(arriving, start=1):
            instance.save_as(folder / f"{number:06d}.dcm")
        return number

    got = ask(receive)
    if got < max(1, series.count):
        raise UnavailableError(
            got=f"{got} of {series.count} files of a series",
            allowed="the whole series",
            todo="try again; if it stays so, look at the log of the PACS",
        )

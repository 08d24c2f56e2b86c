"""Cases of a PACS in memory: which there are, and their files one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from lib.data.builder import pacs
from lib.data.builder.description import Source
from lib.data.builder.pacs import OLDER, PacsTask, pacs_cases
from lib.errors import UnavailableError
from tests.support.dicom_files import MR_SHAPE, mr_array, write_mr_series, write_seg
from tests.support.memory_pacs import MemoryPacs

SOURCE = Source(
    dataset="d",
    kind="dicomweb",
    modality="mr_t1",
    classes={"organ": "liver"},
    root="http://pacs.invalid/dicom-web",
    images="Modality=MR",
    labels="Modality=SEG",
    patient="header",
)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryPacs:
    """Two series, one of them with a SEG."""
    for name in ("labelled", "other"):
        (tmp_path / name).mkdir()
        write_mr_series(tmp_path / name, mr_array())
    write_seg(tmp_path / "seg.dcm", tmp_path / "labelled")
    found = MemoryPacs([*tmp_path.glob("*/*.dcm"), tmp_path / "seg.dcm"])
    monkeypatch.setattr(pacs, "DICOMwebClient", lambda address: found)
    return found


def cases(source: Source = SOURCE) -> list[PacsTask]:
    return list(pacs_cases(source, {"liver": "0000"}, "salt" * 4))


def seg_of(archive: MemoryPacs) -> Dataset:
    return next(file for file in archive.files if file.Modality == "SEG")


def another_seg(archive: MemoryPacs, change: Callable[[Dataset], None]) -> Dataset:
    """A copy of the SEG in a series of its own, changed."""
    file = pydicom.dcmread(seg_of(archive).filename)
    file.SeriesInstanceUID, file.SOPInstanceUID = generate_uid(), generate_uid()
    change(file)
    archive.files.append(file)
    return file


def test_only_labelled_series_are_cases(archive: MemoryPacs) -> None:
    (case,) = cases()
    assert case.series.uid == seg_of(archive).ReferencedSeriesSequence[0].SeriesInstanceUID
    assert case.series.count == MR_SHAPE[2] and case.warnings == ()
    assert case.series.uid not in case.key


@pytest.mark.parametrize("pages", [True, False])
def test_more_series_than_fit_on_a_page(
    archive: MemoryPacs, monkeypatch: pytest.MonkeyPatch, pages: bool
) -> None:
    archive.pages = pages
    monkeypatch.setattr(pacs, "PAGE", 1)
    assert len(pacs._search(archive, "Modality=MR")) == 2


def test_files_lie_on_the_disk_while_they_are_needed(archive: MemoryPacs, tmp_path: Path) -> None:
    (case,) = cases()
    with case.at_hand(tmp_path / "files") as files:
        assert len(list(files.image.iterdir())) == MR_SHAPE[2]
        assert [path.name for path in files.labels] == ["000001.dcm"]
        assert files.key == case.key
    assert not (tmp_path / "files").exists()


def test_a_file_is_written_before_the_next_one_is_taken(
    archive: MemoryPacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def note(self: Dataset, path: Path) -> None:
        archive.questions.append("written")

    monkeypatch.setattr(Dataset, "save_as", note)
    (case,) = cases()
    archive.questions.clear()
    pacs._download(archive, case.series, tmp_path)
    assert archive.questions == ["retrieve", *["sent one", "written"] * MR_SHAPE[2]]


def test_the_newest_labels_count_unless_all_are_wanted(archive: MemoryPacs) -> None:
    def newer(file: Dataset) -> None:
        file.ContentDate = "20991231"

    file = another_seg(archive, newer)
    (case,) = cases()
    assert [series.uid for series in case.drawn] == [file.SeriesInstanceUID]
    assert case.warnings == (OLDER,)
    (case,) = cases(replace(SOURCE, versions="all"))
    assert len(case.drawn) == 2 and case.warnings == ()


def test_what_a_model_drew_alone_is_nothing_to_learn_from(archive: MemoryPacs) -> None:
    def automatic(file: Dataset) -> None:
        file.ContentDate, file.Manufacturer = "20991231", "samed2d"
        for segment in file.SegmentSequence:
            segment.SegmentAlgorithmType = "AUTOMATIC"

    another_seg(archive, automatic)
    (case,) = cases()
    assert [series.uid for series in case.drawn] == [seg_of(archive).SeriesInstanceUID]


def test_a_new_label_changes_the_digest(archive: MemoryPacs) -> None:
    before = cases()[0].digest()
    assert cases()[0].digest() == before
    another_seg(archive, lambda file: setattr(file, "ContentDate", "20991231"))
    assert cases()[0].digest() != before


def test_a_series_that_comes_in_part_is_refused(archive: MemoryPacs, tmp_path: Path) -> None:
    (case,) = cases()
    archive.files.remove(next(f for f in archive.files if f.SeriesInstanceUID == case.series.uid))
    with pytest.raises(UnavailableError, match="6 of 7 files"), case.at_hand(tmp_path / "files"):
        pass
    assert not (tmp_path / "files").exists()


def test_a_pacs_that_is_down(archive: MemoryPacs) -> None:
    archive.down = True
    with pytest.raises(UnavailableError, match="no usable answer"):
        cases()

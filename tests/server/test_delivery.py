"""Labels on their way to a PACS in memory that fails in every way; tests/pacs has a real one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from lib.errors import ImageError, RefusedError, UnavailableError
from lib.imaging.dicom_seg import read_seg
from lib.imaging.series_file import write_series
from lib.imaging.volume import ReadLimits, Volume, read_volume
from lib.server.delivery import Delivery, Patience, deliver, make_seg, same_content
from lib.server.journal import Journal, SavedLabel
from lib.server.label_check import LabelMap
from lib.server.label_info import LabelFacts
from lib.server.pacs_archive import PacsArchive
from tests.support.dicom_files import MR_SHAPE, mr_array, write_mr_series
from tests.support.memory_pacs import MemoryPacs
from tests.support.waiting import wait_for

LIMITS = ReadLimits()
QUICK = Patience(first=0.01, longest=0.05, refused=0.05)
NAMES = ((1, "liver"), (3, "lesion"))


def label_values() -> np.ndarray:
    values = np.zeros(MR_SHAPE, np.uint8)
    values[5:20, 10:31, 2:4] = 1
    values[25:35, 40:50, 4] = 3
    return values


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """UID and folder of an MR series, and its NIfTI file."""
    folder = tmp_path_factory.mktemp("series")
    uid = write_mr_series(folder, mr_array())
    image = tmp_path_factory.mktemp("nifti") / "image.nii.gz"
    write_series(folder, image, LIMITS)
    return uid, folder, image


@pytest.fixture(scope="module")
def volume(series: tuple[str, Path, Path]) -> Volume:
    return read_volume(series[2])


@pytest.fixture
def pacs(series: tuple[str, Path, Path]) -> MemoryPacs:
    return MemoryPacs(sorted(series[1].iterdir()))


@pytest.fixture
def archive(pacs: MemoryPacs, series: tuple[str, Path, Path]) -> PacsArchive:
    return PacsArchive(pacs, lambda image: sorted(series[1].iterdir()), lambda image: series[2])


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def add(
    journal: Journal, series: tuple[str, Path, Path], volume: Volume, tmp_path: Path
) -> Callable[..., SavedLabel]:
    """Save a label, as `PacsLabels.save` does."""

    def call(
        values: np.ndarray | None = None,
        affine: np.ndarray = volume.affine,
        study: str = "1.2",
        **facts: object,
    ) -> SavedLabel:
        path = tmp_path / "new.nii.gz"
        LabelMap(label_values() if values is None else values, affine).write(path)
        known = LabelFacts(**{"names": NAMES, "algorithm": "SEMIAUTOMATIC", **facts})
        return journal.add(series[0], path, known, study)

    return call


@pytest.fixture
def delivery(journal: Journal, archive: PacsArchive) -> Delivery:
    return Delivery(journal, archive, LIMITS, QUICK)


def segs(pacs: MemoryPacs) -> list[Dataset]:
    return [file for file in pacs.files if file.Modality == "SEG"]


def drawn(pacs: MemoryPacs, volume: Volume, tmp_path: Path) -> tuple[np.ndarray, dict[int, str]]:
    (seg,) = segs(pacs)
    seg.save_as(tmp_path / "back.dcm")
    found = read_seg(tmp_path / "back.dcm", volume.affine, volume.shape)
    return found.labels, dict(found.names)


def test_a_label_arrives_as_it_was_saved(
    add: Callable[..., SavedLabel],
    journal: Journal,
    archive: PacsArchive,
    pacs: MemoryPacs,
    volume: Volume,
    tmp_path: Path,
) -> None:
    entry = add(user="ann", model_version="v7")
    deliver(entry, journal, archive, LIMITS)
    labels, names = drawn(pacs, volume, tmp_path)
    np.testing.assert_array_equal(labels, np.array([0, 1, 0, 2])[label_values()])
    assert names == {1: "liver", 2: "lesion"}
    (seg,) = segs(pacs)
    assert (seg.SeriesInstanceUID, seg.SOPInstanceUID) == (entry.series_uid, entry.instance_uid)
    assert seg.StudyInstanceUID == pacs.files[0].StudyInstanceUID
    kinds = {segment.SegmentAlgorithmType for segment in seg.SegmentSequence}
    assert kinds == {"SEMIAUTOMATIC"}


def test_each_try_makes_the_same_file(
    add: Callable[..., SavedLabel], journal: Journal, archive: PacsArchive, tmp_path: Path
) -> None:
    entry = add(user="ann", reviewed=(0, 6))
    files = []
    for name in "ab":
        (tmp_path / name).mkdir()
        files.append(make_seg(entry, Journal(journal.folder), archive, LIMITS, tmp_path / name))
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_label_that_is_there_already_is_not_sent_again(
    add: Callable[..., SavedLabel], journal: Journal, archive: PacsArchive, pacs: MemoryPacs
) -> None:
    entry = add()
    deliver(entry, journal, archive, LIMITS)
    deliver(entry, journal, archive, LIMITS)
    assert pacs.stows == 1
    assert len(segs(pacs)) == 1


@pytest.mark.parametrize("values", [np.zeros(MR_SHAPE, np.uint8)])
def test_an_empty_label_arrives_as_reviewed(
    add: Callable[..., SavedLabel],
    journal: Journal,
    archive: PacsArchive,
    pacs: MemoryPacs,
    volume: Volume,
    tmp_path: Path,
    values: np.ndarray,
) -> None:
    deliver(add(values, reviewed=(1, 2)), journal, archive, LIMITS)
    segs(pacs)[0].save_as(tmp_path / "back.dcm")
    found = read_seg(tmp_path / "back.dcm", volume.affine, volume.shape)
    assert not found.labels.any()
    assert found.reviewed == {1, 2}
    assert dict(found.names) == {1: "liver"}


def test_delivered_at_once(
    add: Callable[..., SavedLabel], delivery: Delivery, journal: Journal
) -> None:
    entry = delivery.deliver_now(add().key, 60)
    assert entry is not None
    assert entry.state == "stored"
    assert journal.pending() == ()


def test_a_pacs_that_is_down_is_tried_until_it_answers(
    add: Callable[..., SavedLabel], delivery: Delivery, journal: Journal, pacs: MemoryPacs
) -> None:
    pacs.down = True
    entry = delivery.deliver_now(add().key, 60)
    assert entry is not None
    assert (entry.state, "refused" in entry.problem) == ("pending", True)  # the connection
    tried = len(pacs.questions)
    wait_for(lambda: len(pacs.questions) > tried + 2)
    pacs.down = False
    wait_for(lambda: not journal.pending())
    assert len(segs(pacs)) == 1
    assert journal.entries()[0].problem == ""


@pytest.mark.parametrize("status", [400, 401, 403, 413, 415])
def test_a_pacs_that_refuses_is_tried_again(
    add: Callable[..., SavedLabel],
    delivery: Delivery,
    journal: Journal,
    pacs: MemoryPacs,
    status: int,
) -> None:
    pacs.refuses = status
    entry = delivery.deliver_now(add().key, 60)
    assert entry is not None
    assert entry.state == "refused"
    assert str(status) in entry.problem
    pacs.refuses = 0
    wait_for(lambda: not journal.pending())
    assert len(segs(pacs)) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_pacs_in_trouble_is_no_refusal(
    add: Callable[..., SavedLabel],
    journal: Journal,
    archive: PacsArchive,
    pacs: MemoryPacs,
    status: int,
) -> None:
    pacs.refuses = status
    with pytest.raises(UnavailableError, match=str(status)):
        deliver(add(), journal, archive, LIMITS)


def test_a_failure_in_the_answer_is_a_refusal(
    add: Callable[..., SavedLabel],
    journal: Journal,
    archive: PacsArchive,
    pacs: MemoryPacs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed, answer = Dataset(), Dataset()
    failed.FailureReason = 0xA700
    answer.FailedSOPSequence = [failed]
    monkeypatch.setattr(pacs, "store_instances", lambda datasets: answer)
    with pytest.raises(RefusedError, match="A700"):
        deliver(add(), journal, archive, LIMITS)


def test_an_answer_is_no_proof(
    add: Callable[..., SavedLabel],
    journal: Journal,
    archive: PacsArchive,
    pacs: MemoryPacs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says that all is well, and stores nothing."""
    monkeypatch.setattr(pacs, "store_instances", lambda datasets: Dataset())
    with pytest.raises(UnavailableError, match="not list yet"):
        deliver(add(), journal, archive, LIMITS)


def test_other_content_is_no_proof(
    add: Callable[..., SavedLabel], journal: Journal, archive: PacsArchive, pacs: MemoryPacs
) -> None:
    entry = add()
    deliver(entry, journal, archive, LIMITS)
    seg = segs(pacs)[0]
    seg.PixelData = bytes(len(seg.PixelData))
    with pytest.raises(RefusedError, match="another content"):
        deliver(entry, journal, archive, LIMITS)


@pytest.mark.parametrize(
    "garbage", [lambda *a, **k: [{"a": 1}], lambda *a, **k: "<html>", lambda *a, **k: None]
)
@pytest.mark.parametrize("question", ["search_for_instances", "retrieve_instance"])
def test_garbage_is_no_proof_and_no_end(
    add: Callable[..., SavedLabel],
    delivery: Delivery,
    journal: Journal,
    pacs: MemoryPacs,
    monkeypatch: pytest.MonkeyPatch,
    question: str,
    garbage: Callable[..., object],
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pacs, question, garbage)
        entry = delivery.deliver_now(add().key, 60)
        assert entry is not None
        assert entry.state != "stored"
        assert entry.problem
    wait_for(lambda: not journal.pending())
    assert len(segs(pacs)) == 1


def test_all_that_is_left_is_delivered_after_a_restart(
    add: Callable[..., SavedLabel], archive: PacsArchive, journal: Journal, pacs: MemoryPacs
) -> None:
    keys = [add().key for _ in range(3)]
    journal.mark_problem(keys[1], "403", refused=True)
    again = Journal(journal.folder)
    Delivery(again, archive, LIMITS, QUICK).follow()
    wait_for(lambda: not again.pending())
    assert len(segs(pacs)) == 3
    assert len({seg.SeriesInstanceUID for seg in segs(pacs)}) == 3


def test_one_label_does_not_stop_the_others(
    add: Callable[..., SavedLabel], delivery: Delivery, journal: Journal, pacs: MemoryPacs
) -> None:
    wrong = add(np.zeros((3, 3, 3), np.uint8), np.eye(4))
    right = add()
    delivery.follow()
    wait_for(lambda: [e.key for e in journal.pending()] == [wrong.key])
    assert len(segs(pacs)) == 1
    assert segs(pacs)[0].SeriesInstanceUID == right.series_uid
    wait_for(lambda: journal.pending()[0].state == "refused")


def test_a_label_saved_without_its_image_is_turned_to_it_later(
    add: Callable[..., SavedLabel],
    journal: Journal,
    archive: PacsArchive,
    pacs: MemoryPacs,
    volume: Volume,
    tmp_path: Path,
) -> None:
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = MR_SHAPE[0] - 1
    entry = add(label_values()[::-1], volume.affine @ flip, study="")
    deliver(entry, journal, archive, LIMITS)
    labels, _ = drawn(pacs, volume, tmp_path)
    np.testing.assert_array_equal(labels > 0, label_values() > 0)


def test_a_label_whose_file_is_gone(
    add: Callable[..., SavedLabel], journal: Journal, archive: PacsArchive
) -> None:
    entry = add()
    (journal.folder / entry.key / "label.nii.gz").unlink()
    with pytest.raises(ImageError, match="gone"):
        deliver(entry, journal, archive, LIMITS)


def test_a_slow_pacs_is_not_waited_for(
    add: Callable[..., SavedLabel],
    delivery: Delivery,
    journal: Journal,
    pacs: MemoryPacs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = threading.Event()
    store = pacs.store_instances

    def slow(datasets: object) -> Dataset:
        assert go_on.wait(60)
        return store(datasets)

    monkeypatch.setattr(pacs, "store_instances", slow)
    entry = delivery.deliver_now(add().key, 0.05)
    assert entry is not None
    assert entry.state == "pending"
    go_on.set()
    wait_for(lambda: not journal.pending())


def test_patience_grows_to_its_limit() -> None:
    patience = Patience()
    waits = [patience.after(n, refused=False) for n in (1, 2, 3, 20, 10_000)]
    assert waits == [2, 4, 8, 300, 300]
    assert patience.after(10_000, refused=True) == 3600


def test_same_content_survives_what_a_pacs_may_change(
    add: Callable[..., SavedLabel], journal: Journal, archive: PacsArchive, tmp_path: Path
) -> None:
    sent = pydicom.dcmread(make_seg(add(), journal, archive, LIMITS, tmp_path))
    got = deepcopy(sent)
    got.PatientName = "Corrected^Name"
    assert same_content(sent, got)
    got.SegmentSequence[0].SegmentLabel = "spleen"
    assert not same_content(sent, got)
    assert not same_content(sent, Dataset())
    assert not same_content(sent, None)  # type: ignore[arg-type]  # garbage


def test_a_closed_delivery_tries_nothing_and_forgets_nothing(
    add: Callable[..., SavedLabel],
    delivery: Delivery,
    journal: Journal,
    pacs: MemoryPacs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = set(threading.enumerate())
    with monkeypatch.context() as patch:
        patch.setattr(pacs, "store_instances", lambda *args, **kwargs: None)
        delivery.deliver_now(add().key, 60)
        started = set(threading.enumerate()) - others
        (thread,) = [thread for thread in started if thread.name == "delivery"]
        delivery.close()
    assert not thread.is_alive()
    second = delivery.deliver_now(add().key, 0.05)
    assert second is not None
    assert second.state == "pending"
    assert len(journal.pending()) == 2
    assert segs(pacs) == []

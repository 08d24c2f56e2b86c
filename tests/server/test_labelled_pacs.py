"""Labels of a PACS in memory that fails in many ways; tests/pacs does the rest with Orthanc."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom
import pytest
from monailabel.datastore.utils.convert import dicom_to_nifti, nifti_to_dicom_seg
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from lib.data.labelled_slices import NOTHING_HERE, LabelledSlices
from lib.errors import UnavailableError
from lib.imaging.segmentation import write_label
from lib.imaging.volume import ReadLimits, Volume, read_volume
from lib.server.datastore import PacsDatastore
from lib.server.host import find_dcmqi
from lib.server.journal import SavedLabel
from lib.server.label_info import LabelFacts
from lib.server.labelled import (
    IMAGE_UNREADABLE,
    NOT_HANDED_OUT,
    NOT_LISTED,
    UNREADABLE,
    read_labelled,
)
from tests.support.dicom_files import MR_SHAPE, mr_array, write_mr_series
from tests.support.memory_pacs import MemoryPacs

NAMES = [{"name": "liver"}, {"name": "spleen"}]


def early() -> np.ndarray:
    labels = np.zeros(MR_SHAPE, np.uint8)
    labels[5:20, 10:31, 2] = 1
    return labels


def late() -> np.ndarray:
    labels = np.zeros(MR_SHAPE, np.uint8)
    labels[8:20, 20:31, 3:5] = 1
    labels[25:35, 40:50, 4] = 2
    return labels


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """UID and folder of an MR series, and its NIfTI file."""
    find_dcmqi()
    folder = tmp_path_factory.mktemp("series")
    uid = write_mr_series(folder, mr_array())
    image = tmp_path_factory.mktemp("nifti") / "image.nii.gz"
    made = Path(dicom_to_nifti(str(folder)))
    image.write_bytes(made.read_bytes())
    made.unlink()
    return uid, folder, image


@pytest.fixture(scope="module")
def volume(series: tuple[str, Path, Path]) -> Volume:
    return read_volume(series[2])


@pytest.fixture(scope="module")
def segs(
    series: tuple[str, Path, Path], volume: Volume, tmp_path_factory: pytest.TempPathFactory
) -> list[Dataset]:
    """An older and a newer SEG of the series."""
    label = tmp_path_factory.mktemp("label") / "label.nii.gz"
    made = []
    for day, labels in (("20300101", early()), ("20300102", late())):
        write_label(label, labels, volume.affine)
        path = Path(nifti_to_dicom_seg(str(series[1]), str(label), NAMES))
        seg = pydicom.dcmread(path)
        path.unlink()
        seg.SeriesDate = seg.ContentDate = day
        made.append(seg)
    return made


@pytest.fixture
def pacs(series: tuple[str, Path, Path], segs: list[Dataset]) -> MemoryPacs:
    found = MemoryPacs(sorted(series[1].iterdir()))
    found.files += deepcopy(segs)
    return found


@pytest.fixture
def store(pacs: MemoryPacs, tmp_path: Path) -> PacsDatastore:
    return PacsDatastore(
        client=pacs,
        search_filter={},
        cache_path=str(tmp_path / "cache"),
        journal=tmp_path / "journal",
    )


def read(store: PacsDatastore, limits: ReadLimits | None = None) -> LabelledSlices:
    return read_labelled(store, limits or ReadLimits())


def drawn(found: LabelledSlices) -> np.ndarray:
    values = {"liver": 1, "spleen": 2}
    labels = np.zeros(MR_SHAPE, np.uint8)
    for part in found.images:
        for mask, label in zip(part.masks, part.labels, strict=True):
            labels[:, :, int(part.name[-4:])][mask.T] = values[label]
    return labels


def segs_in(pacs: MemoryPacs) -> list[Dataset]:
    """Oldest first."""
    return [file for file in pacs.files if file.Modality == "SEG"]


def test_the_newest_seg_is_read(store: PacsDatastore, series: tuple[str, Path, Path]) -> None:
    found = read(store)
    assert found.skipped == ()
    np.testing.assert_array_equal(drawn(found), late())
    part = found.images[0]
    assert (part.name, part.patient) == (f"{series[0]}#k0003", "TMR")
    assert (part.modality, part.body_part) == ("MR", "KNEE")
    assert "T^MR" not in repr(found)


def test_the_order_of_the_answers_does_not_matter(store: PacsDatastore, pacs: MemoryPacs) -> None:
    pacs.files.reverse()
    np.testing.assert_array_equal(drawn(read(store)), late())


def test_labels_of_the_cache_folder_stay(store: PacsDatastore, tmp_path: Path) -> None:
    """The host's datalist() deletes labels that the PACS does not list."""
    read(store)
    kept = Path(store._datastore.label_path("final"), "keep.nii.gz")
    kept.write_bytes(b"mine")
    read(store)
    assert kept.read_bytes() == b"mine"


def test_a_seg_that_cannot_be_read_gives_way_to_the_one_before(
    store: PacsDatastore, pacs: MemoryPacs
) -> None:
    newest = segs_in(pacs)[1]
    newest.PixelData = newest.PixelData[:10]
    found = read(store)
    np.testing.assert_array_equal(drawn(found), early())
    assert found.counts() == {UNREADABLE: 1}
    assert "DICOM SEG" in found.skipped[0].detail


def test_a_seg_of_another_kind_is_counted(store: PacsDatastore, pacs: MemoryPacs) -> None:
    for seg in segs_in(pacs):
        seg.SegmentationType = "LABELMAP"
    found = read(store)
    assert found.images == ()
    assert found.counts() == {UNREADABLE: 2}


def test_a_seg_too_large_is_not_even_downloaded(store: PacsDatastore, pacs: MemoryPacs) -> None:
    for seg in segs_in(pacs):
        seg.Rows = seg.Columns = 60000
    found = read(store)
    assert found.counts() == {UNREADABLE: 2}
    assert "max_voxels" in found.skipped[0].detail
    assert "instance" not in pacs.questions


def test_a_series_that_the_pacs_fails_on_is_counted(store: PacsDatastore, pacs: MemoryPacs) -> None:
    pacs.broken.add(segs_in(pacs)[1].SeriesInstanceUID)
    found = read(store)
    np.testing.assert_array_equal(drawn(found), early())
    assert found.counts() == {NOT_HANDED_OUT: 1}
    assert store.get_labeled_images() == store.list_images()


def test_a_file_that_the_pacs_fails_on_is_counted(store: PacsDatastore, pacs: MemoryPacs) -> None:
    store.segs.listed()
    pacs.broken.add(segs_in(pacs)[1].SeriesInstanceUID)
    found = read(store)
    np.testing.assert_array_equal(drawn(found), early())
    assert found.counts() == {NOT_HANDED_OUT: 1}


def test_an_image_that_the_pacs_fails_on_is_counted(
    store: PacsDatastore, pacs: MemoryPacs, series: tuple[str, Path, Path]
) -> None:
    pacs.broken.add(series[0])
    found = read(store)
    assert found.images == ()
    assert found.counts() == {IMAGE_UNREADABLE: 1}


def test_a_seg_of_an_image_that_is_not_there(store: PacsDatastore, pacs: MemoryPacs) -> None:
    older, newer = segs_in(pacs)
    older.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"
    del newer.ReferencedSeriesSequence
    assert read(store).counts() == {NOT_LISTED: 2}


@pytest.mark.parametrize("after", range(4))
def test_a_pacs_that_goes_down_ends_the_reading(
    store: PacsDatastore, pacs: MemoryPacs, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    ask = pacs._ask

    def failing(what: str, series: str = "") -> None:
        pacs.down = len(pacs.questions) >= after
        ask(what, series)

    monkeypatch.setattr(pacs, "_ask", failing)
    with pytest.raises(UnavailableError, match="refused"):
        read(store)


def test_files_of_one_series_belong_together(store: PacsDatastore, pacs: MemoryPacs) -> None:
    older, newer = segs_in(pacs)
    older.SeriesInstanceUID = newer.SeriesInstanceUID
    older.SegmentSequence[0].SegmentLabel = "spleen"
    found = read(store)
    expected = np.where(early() > 0, 2, 0)
    expected[late() > 0] = late()[late() > 0]
    np.testing.assert_array_equal(drawn(found), expected)


def test_each_seg_is_looked_at_again_only_when_it_has_grown(
    store: PacsDatastore, pacs: MemoryPacs
) -> None:
    store.segs.listed()
    store.segs.listed()
    assert pacs.questions.count("metadata") == 2
    more = deepcopy(segs_in(pacs)[0])
    more.SOPInstanceUID = generate_uid()
    pacs.files.append(more)
    assert [len(seg.instances) for seg in store.segs.listed()] == [1, 2]


def keep(store: PacsDatastore, series: str, labels: np.ndarray, tmp_path: Path) -> SavedLabel:
    """As `PacsLabels.save` does it, without a delivery."""
    path = tmp_path / "label.nii.gz"
    affine = read_volume(Path(store.get_image_uri(series))).affine
    write_label(path, labels, affine)
    facts = LabelFacts(names=((1, "liver"), (2, "spleen")), reviewed=(0,))
    return store.labels.journal.add(series, path, facts, "1.2")


def test_a_label_on_its_way_is_the_newest(
    store: PacsDatastore, pacs: MemoryPacs, series: tuple[str, Path, Path], tmp_path: Path
) -> None:
    for seg in segs_in(pacs):
        seg.SeriesDate = seg.ContentDate = "20200101"
    np.testing.assert_array_equal(drawn(read(store)), late())
    keep(store, series[0], early()[::-1], tmp_path)
    pacs.questions.clear()
    found = read(store)
    np.testing.assert_array_equal(drawn(found), early()[::-1])
    assert found.counts() == {NOTHING_HERE: 1}
    assert len({part.name for part in found.images}) == len(found.images)
    assert "instance" not in pacs.questions


def test_a_newer_seg_of_somebody_else_goes_before_a_label_saved_here(
    store: PacsDatastore, series: tuple[str, Path, Path], tmp_path: Path
) -> None:
    keep(store, series[0], early(), tmp_path)  # the SEGs are of 2030
    np.testing.assert_array_equal(drawn(read(store)), late())


def test_a_label_and_its_seg_are_one(
    store: PacsDatastore, pacs: MemoryPacs, series: tuple[str, Path, Path], tmp_path: Path
) -> None:
    pacs.files = [file for file in pacs.files if file.Modality != "SEG"]
    entry = keep(store, series[0], early(), tmp_path)
    before = read(store)
    assert store.labels.delivery.deliver_now(entry.key, 60).state == "stored"
    assert len(segs_in(pacs)) == 1
    after = read(store)
    assert after.digest == before.digest
    assert [len(sources) for sources in store.labels.sources().values()] == [1]
    # A server that never had it gets the same from the PACS.
    fresh = PacsDatastore(
        client=pacs,
        search_filter={},
        cache_path=str(tmp_path / "other"),
        journal=tmp_path / "other journal",
    )
    assert read(fresh).digest == before.digest
    assert read(fresh).counts() == {NOTHING_HERE: 1}


def test_a_label_that_was_deleted_in_the_pacs_does_not_count(
    store: PacsDatastore, pacs: MemoryPacs, series: tuple[str, Path, Path], tmp_path: Path
) -> None:
    pacs.files = [file for file in pacs.files if file.Modality != "SEG"]
    entry = keep(store, series[0], early(), tmp_path)
    store.labels.delivery.deliver_now(entry.key, 60)
    assert len(read(store).images) == 1
    pacs.files = [file for file in pacs.files if file.Modality != "SEG"]
    assert read(store) == LabelledSlices(())


def test_a_damaged_label_gives_way_to_its_seg(
    store: PacsDatastore, pacs: MemoryPacs, series: tuple[str, Path, Path], tmp_path: Path
) -> None:
    pacs.files = [file for file in pacs.files if file.Modality != "SEG"]
    entry = keep(store, series[0], early(), tmp_path)
    store.labels.delivery.deliver_now(entry.key, 60)
    (store.labels.journal.folder / entry.key / "label.nii.gz").write_bytes(b"damaged")
    np.testing.assert_array_equal(drawn(read(store)), early())


def test_what_a_model_of_ours_drew_alone_is_no_label(
    store: PacsDatastore, pacs: MemoryPacs
) -> None:
    for seg in segs_in(pacs):
        for segment in seg.SegmentSequence:
            segment.SegmentAlgorithmType = "AUTOMATIC"
    assert len(store.get_labeled_images()) == 1  # the host's own SEGs are all called automatic
    store.segs._known.clear()
    store.forget_lists()
    for seg in segs_in(pacs):
        seg.Manufacturer = "samed2d"
    assert store.get_labeled_images() == []
    assert read(store) == LabelledSlices(())


def test_what_is_no_dicom_is_an_error_of_ours(
    store: PacsDatastore, pacs: MemoryPacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seg = store.segs.listed()[0]

    def garbage(*args: object, **kwargs: object) -> Dataset:
        raise pydicom.errors.InvalidDicomError("no DICM")

    monkeypatch.setattr(pacs, "retrieve_instance", garbage)
    with pytest.raises(UnavailableError, match="no DICM"):
        store.segs.download(seg, seg.instances[0], tmp_path)

"""Final labels of a PACS in memory: saved, found again, handed out; the host's traps."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import LocalDatastore
from monailabel.datastore.utils.convert import nifti_to_dicom_seg
from pydicom import dcmread
from pydicom.dataset import Dataset

from lib.errors import ImageError, NotFoundError, RequestError, UnavailableError
from lib.imaging.volume import ReadLimits, read_volume
from lib.options import AppOptions
from lib.server import datastore as datastore_module
from lib.server.datastore import PacsDatastore, configured
from lib.server.delivery import Delivery, Patience
from lib.server.host import find_dcmqi
from lib.server.label_check import LabelMap
from lib.server.labelled import read_labelled
from lib.server.start_label import FILE_KEY, NAMES_KEY, saved_label
from tests.support.dicom_files import MR_SHAPE, mr_array, write_mr_series
from tests.support.memory_pacs import MemoryPacs

NAMES = {"label_info": [{"name": "organ", "idx": 1}, {"name": "lesion", "idx": 2}]}


def lesion() -> np.ndarray:
    """Value 2 alone, on two slices."""
    labels = np.zeros(MR_SHAPE, np.uint8)
    labels[5:20, 10:31, 2:4] = 2
    return labels


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    find_dcmqi()
    folder = tmp_path_factory.mktemp("series")
    return write_mr_series(folder, mr_array()), folder


@pytest.fixture
def pacs(series: tuple[str, Path]) -> MemoryPacs:
    return MemoryPacs(sorted(series[1].iterdir()))


@pytest.fixture
def image(series: tuple[str, Path]) -> str:
    return series[0]


def open_store(pacs: MemoryPacs, home: Path) -> PacsDatastore:
    return PacsDatastore(
        client=pacs, search_filter={}, cache_path=str(home / "cache"), journal=home / "journal"
    )


@pytest.fixture
def store(pacs: MemoryPacs, tmp_path: Path) -> PacsDatastore:
    return open_store(pacs, tmp_path / "first")


@pytest.fixture
def write(store: PacsDatastore, image: str, tmp_path: Path) -> Callable[..., str]:
    """A label file on the image's grid, as a client sends it."""

    def call(labels: np.ndarray) -> str:
        path = tmp_path / "client.nii.gz"
        LabelMap(labels, read_volume(Path(store.get_image_uri(image))).affine).write(path)
        return str(path)

    return call


def segs(pacs: MemoryPacs) -> list[Dataset]:
    return [file for file in pacs.files if file.Modality == "SEG"]


def values_in(path: str | Path) -> np.ndarray:
    return read_volume(Path(path)).array


def test_item_1_the_name_goes_with_its_value(
    store: PacsDatastore,
    pacs: MemoryPacs,
    image: str,
    series: tuple[str, Path],
    write: Callable[..., str],
    tmp_path: Path,
) -> None:
    """The host numbers names by position: lesion alone becomes organ."""
    file = write(lesion())
    stock = Path(nifti_to_dicom_seg(str(series[1]), file, NAMES["label_info"]))
    stock_names = [s.SegmentLabel for s in dcmread(stock).SegmentSequence]
    stock.unlink()
    assert stock_names == ["organ"]
    store.save_label(image, file, "final", dict(NAMES))
    (seg,) = segs(pacs)
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["lesion"]
    fresh = open_store(pacs, tmp_path / "second").final_label(image)
    assert fresh is not None
    assert dict(fresh.names) == {1: "lesion"}


def test_item_2_a_fresh_server_reads_the_whole_grid(
    store: PacsDatastore,
    pacs: MemoryPacs,
    image: str,
    write: Callable[..., str],
    tmp_path: Path,
) -> None:
    """The host's reader gives back the box around the label alone."""
    labels = lesion()
    labels[1, 2, 6] = 1
    store.save_label(image, write(labels), "final", dict(NAMES))
    fresh = open_store(pacs, tmp_path / "second")
    uri = fresh.get_label_uri(image, "final")
    back, whole = read_volume(Path(uri)), read_volume(Path(fresh.get_image_uri(image)))
    np.testing.assert_array_equal(back.array, labels)
    np.testing.assert_allclose(back.affine, whole.affine, atol=1e-4)
    info = fresh.get_label_info(image, "final")
    assert info["label_info"] == [{"name": "organ", "idx": 1}, {"name": "lesion", "idx": 2}]


def test_item_8_the_label_of_an_image_is_handed_out(
    store: PacsDatastore, pacs: MemoryPacs, image: str, write: Callable[..., str]
) -> None:
    """The host asks the PACS for a SEG under the image's id, and ends with a ValueError."""
    assert store.get_label_uri(image, "final") == ""
    store.save_label(image, write(lesion()), "final", dict(NAMES))
    with pytest.raises(Exception, match="DICOM"):
        DICOMWebDatastore.get_label_uri(store, image, "final")
    np.testing.assert_array_equal(values_in(store.get_label_uri(image, "final")), lesion())
    assert store.get_labels_by_image_id(image) == {"final": image}


def test_item_9_an_empty_label_is_an_answer(
    store: PacsDatastore,
    pacs: MemoryPacs,
    image: str,
    series: tuple[str, Path],
    write: Callable[..., str],
    tmp_path: Path,
) -> None:
    """The host makes no file of it, and fails."""
    empty = write(np.zeros(MR_SHAPE, np.uint8))
    assert nifti_to_dicom_seg(str(series[1]), empty, NAMES["label_info"]) == ""
    store.save_label(image, empty, "final", dict(NAMES))
    assert len(segs(pacs)) == 1
    fresh = open_store(pacs, tmp_path / "second")
    for each in (store, fresh):
        assert each.get_labeled_images() == [image]
        assert each.status()["completed"] == 1
        assert not values_in(each.get_label_uri(image, "final")).any()
        found = read_labelled(each, ReadLimits())
        assert found.images == ()
        assert {skipped.slice for skipped in found.skipped} == set(range(MR_SHAPE[2]))


def test_item_11_the_newest_save_counts_and_nothing_is_deleted(
    store: PacsDatastore,
    pacs: MemoryPacs,
    image: str,
    write: Callable[..., str],
    tmp_path: Path,
) -> None:
    """With the host the last in the order of the PACS's answer wins."""
    store.save_label(image, write(lesion()), "final", dict(NAMES))
    store.save_label(image, write(lesion()[::-1]), "final", dict(NAMES))
    assert len(segs(pacs)) == 2
    for files in (pacs.files, pacs.files[::-1]):
        pacs.files = files
        fresh = open_store(pacs, tmp_path / f"again {files is pacs.files}")
        for each in (store, fresh):
            labels = values_in(each.get_label_uri(image, "final")) > 0
            np.testing.assert_array_equal(labels, lesion()[::-1] > 0)
            found = read_labelled(each, ReadLimits())
            assert [part.name[-4:] for part in found.images] == ["0002", "0003"]


def test_item_4_a_saved_label_counts_at_once(
    store: PacsDatastore, pacs: MemoryPacs, image: str, write: Callable[..., str]
) -> None:
    assert store.get_unlabeled_images() == [image]
    assert store.status() == {"total": 1, "completed": 0, "label_tags": {"final": 0}}
    pacs.refuses = 403
    store.save_label(image, write(lesion()), "final", dict(NAMES))
    assert segs(pacs) == []
    assert store.get_unlabeled_images() == []
    assert store.status() == {"total": 1, "completed": 1, "label_tags": {"final": 1}}


@pytest.mark.parametrize("trouble", ["down", 500, 403, "garbage"])
def test_nothing_is_lost_whatever_the_pacs_does(
    store: PacsDatastore,
    pacs: MemoryPacs,
    image: str,
    write: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: object,
) -> None:
    file = write(lesion())
    with monkeypatch.context() as patch:
        if trouble == "down":
            pacs.down = True
        elif trouble == "garbage":
            patch.setattr(pacs, "store_instances", lambda datasets: "<html>")
        else:
            patch.setattr(pacs, "refuses", trouble)
        entry = store.save_final(image, Path(file), dict(NAMES))
        assert entry.state != "stored"
        assert entry.problem
    pacs.down = False
    # After a restart; the one before is not asked any more.
    again = open_store(pacs, tmp_path / "first")
    saved = again.labels.delivery.deliver_now(entry.key, 60)
    assert saved is not None
    assert saved.state == "stored"
    assert [str(seg.SeriesInstanceUID) for seg in segs(pacs)] == [entry.series_uid]
    found = read_labelled(again, ReadLimits())
    assert len(found.images) == 2


def test_a_label_of_an_image_never_opened_is_kept_while_the_pacs_is_down(
    store: PacsDatastore,
    pacs: MemoryPacs,
    image: str,
    write: Callable[..., str],
    tmp_path: Path,
) -> None:
    file = write(lesion())
    other = open_store(pacs, tmp_path / "second")
    pacs.down = True
    entry = other.save_final(image, Path(file), dict(NAMES))
    assert (entry.state, entry.study) == ("pending", "")
    with pytest.raises(UnavailableError, match="NOT saved"):
        raw = tmp_path / "label.bin"
        raw.write_bytes(lesion().tobytes(order="F"))
        other.save_final(image, raw, {})
    pacs.down = False
    saved = other.labels.delivery.deliver_now(entry.key, 60)
    assert saved is not None
    assert saved.state == "stored"
    np.testing.assert_array_equal(values_in(other.get_label_uri(image, "final")), lesion())


def test_wrong_labels_are_refused_before_anything_is_kept(
    store: PacsDatastore, image: str, write: Callable[..., str], tmp_path: Path
) -> None:
    file = write(lesion())
    volume = read_volume(Path(file))
    LabelMap(lesion()[:-1], volume.affine).write(Path(file))
    with pytest.raises(ImageError, match="own grid"):
        store.save_final(image, Path(file), {})
    LabelMap(lesion(), volume.affine @ np.diag([1, 1, 1.5, 1])).write(Path(file))
    with pytest.raises(ImageError, match="another place"):
        store.save_final(image, Path(file), {})
    for uid in ("../x", "1.2.3", ""):
        with pytest.raises(NotFoundError):
            store.save_final(uid, Path(write(lesion())), {})
    assert store.labels.journal.entries() == ()
    assert not (tmp_path / "first" / "journal").exists()


def test_other_tags_stay_here(
    store: PacsDatastore, pacs: MemoryPacs, image: str, write: Callable[..., str]
) -> None:
    store.save_label(image, write(lesion()), "original", dict(NAMES))
    assert pacs.stows == 0
    assert store.labels.journal.entries() == ()
    assert store.get_unlabeled_images() == [image]
    assert store.get_labels_by_image_id(image) == {"original": image}
    assert store.status()["label_tags"] == {"original": 1, "final": 0}
    np.testing.assert_array_equal(values_in(store.get_label_uri(image, "original")), lesion())
    store.remove_label(image, "original")


def test_final_labels_are_not_removed_from_here(
    store: PacsDatastore, pacs: MemoryPacs, image: str, write: Callable[..., str]
) -> None:
    store.save_label(image, write(lesion()), "final", dict(NAMES))
    with pytest.raises(RequestError, match="never removed"):
        store.remove_label(image, "final")
    assert len(segs(pacs)) == 1
    assert store.get_label_uri(image, "final")


def test_the_list_of_labelled_images_deletes_nothing(
    store: PacsDatastore, pacs: MemoryPacs, image: str, write: Callable[..., str]
) -> None:
    """The host's datalist() removes labels that the PACS does not list."""
    pacs.refuses = 500
    store.save_label(image, write(lesion()), "final", dict(NAMES))
    (item,) = store.datalist()
    np.testing.assert_array_equal(values_in(item["label"]), lesion())
    assert item["image"] == store.get_image_uri(image)
    assert len(store.labels.journal.pending()) == 1
    pacs.down = True
    store.forget_lists()
    with pytest.raises(UnavailableError):
        store.datalist()


def test_everything_known_of_opened_images(
    store: PacsDatastore, image: str, write: Callable[..., str]
) -> None:
    store.save_label(image, write(lesion()), "final", {**NAMES, "user": "ann"})
    info = store.json()["objects"][image]["labels"]["final"]["info"]
    assert (info["user"], info["stored"]) == ("ann", True)
    assert "final" not in LocalDatastore.json(store)["objects"][image]["labels"]


def test_clicks_start_from_the_newest_label(
    store: PacsDatastore,
    pacs: MemoryPacs,
    image: str,
    write: Callable[..., str],
    tmp_path: Path,
) -> None:
    assert saved_label(store, image) == {}
    store.save_label(image, write(lesion()), "original", dict(NAMES))
    assert saved_label(store, image)[NAMES_KEY] == {"organ": 1, "lesion": 2}
    pacs.refuses = 500
    store.save_label(image, write(lesion()[::-1]), "final", dict(NAMES))
    start = saved_label(store, image)
    assert start[NAMES_KEY] == {"lesion": 2}
    np.testing.assert_array_equal(values_in(start[FILE_KEY]), lesion()[::-1])
    pacs.refuses = 0
    entry = store.labels.journal.newest(image)
    assert entry is not None
    store.labels.delivery.deliver_now(entry.key, 60)
    fresh = saved_label(open_store(pacs, tmp_path / "second"), image)
    assert fresh[NAMES_KEY] == {"lesion": 1}
    np.testing.assert_array_equal(values_in(fresh[FILE_KEY]) > 0, lesion()[::-1] > 0)


def test_a_seg_that_cannot_be_read_gives_way_to_the_one_before(
    store: PacsDatastore,
    pacs: MemoryPacs,
    image: str,
    write: Callable[..., str],
    tmp_path: Path,
) -> None:
    store.save_label(image, write(lesion()), "final", dict(NAMES))
    newer = deepcopy(segs(pacs)[0])
    newer.SeriesInstanceUID, newer.SOPInstanceUID = "1.2.3", "1.2.3.4"
    newer.ContentDate = newer.SeriesDate = "20400101"
    newer.PixelData = b"\0\0"
    pacs.files.append(newer)
    fresh = open_store(pacs, tmp_path / "second").final_label(image)
    assert fresh is not None
    assert fresh.source.series != "1.2.3"
    pacs.broken |= {"1.2.3", str(segs(pacs)[0].SeriesInstanceUID)}
    third = open_store(pacs, tmp_path / "third")
    assert third.final_label(image) is None  # their metadata are not handed out: left out


def test_the_options_reach_it(store: PacsDatastore, tmp_path: Path) -> None:
    options = AppOptions(journal=tmp_path / "mine", max_voxels=5)
    assert configured(store, options, deliver=False) is store
    assert store.labels.journal.folder.parent == tmp_path / "mine"
    local = object()
    assert configured(local, options, deliver=True) is local


def test_what_waits_is_delivered_from_the_start(
    store: PacsDatastore,
    pacs: MemoryPacs,
    image: str,
    write: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pacs.refuses = 403
    store.save_label(image, write(lesion()), "final", dict(NAMES))
    pacs.refuses = 0
    quick = lambda *args: Delivery(*args, patience=Patience(0.01, 0.01, 0.01))  # noqa: E731
    monkeypatch.setattr(datastore_module, "Delivery", quick)
    again = open_store(pacs, tmp_path / "first")
    configured(again, AppOptions(journal=tmp_path / "first" / "journal"), deliver=True)
    entry = again.labels.journal.entries()[0]
    for _ in range(600):
        if again.labels.journal.get(entry.key).state == "stored":
            break
        time.sleep(0.05)
    assert len(segs(pacs)) == 1

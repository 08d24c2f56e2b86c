"""Labels saved into a real PACS as DICOM SEG, read back by a server that has never seen them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomweb_client import DICOMwebClient

from lib.data.labelled_slices import LabelledSlices
from lib.errors import UnavailableError
from lib.imaging.segmentation import write_label
from lib.imaging.volume import ReadLimits, read_volume
from lib.server.datastore import PacsDatastore
from lib.server.host import find_dcmqi
from lib.server.labelled import NOT_LISTED, read_labelled
from tests.support.dicom_files import MR_SHAPE, mr_array, write_mr_series
from tests.support.organs import CT_SERIES
from tests.support.orthanc import RunningOrthanc, start_orthanc

pytestmark = pytest.mark.pacs

NAMES = [{"name": "liver", "idx": 1}, {"name": "spleen", "idx": 2}]
VALUES = {"liver": 1, "spleen": 2}


@pytest.fixture(scope="module")
def mr_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mr")
    write_mr_series(folder, mr_array())
    return folder


@pytest.fixture
def pacs(tmp_path: Path, mr_folder: Path) -> Iterator[RunningOrthanc]:
    """A PACS with an MR series and a CT series, none of them labelled."""
    home = tmp_path / "orthanc"
    home.mkdir()
    with start_orthanc(home) as running:
        running.stow(mr_folder)
        running.stow(CT_SERIES)
        yield running


def series_of(folder: Path) -> str:
    return str(pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True).SeriesInstanceUID)


def open_store(pacs: RunningOrthanc, cache: Path, **search: str) -> PacsDatastore:
    find_dcmqi()
    return PacsDatastore(
        client=DICOMwebClient(pacs.dicom_web),
        search_filter=search,
        cache_path=str(cache),
        journal=cache / "journal",
    )


def save(store: PacsDatastore, image: str, labels: np.ndarray, folder: Path) -> None:
    """As ``PUT /datastore/label`` does it."""
    path = folder / "label.nii.gz"
    write_label(path, labels, read_volume(Path(store.get_image_uri(image))).affine)
    store.save_label(image, str(path), "final", {"label_info": NAMES})


def read(store: PacsDatastore) -> LabelledSlices:
    return read_labelled(store, ReadLimits())


def drawn(found: LabelledSlices, shape: tuple[int, ...]) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    for part in found.images:
        for mask, label in zip(part.masks, part.labels, strict=True):
            labels[:, :, int(part.name[-4:])][mask.T] = VALUES[label]
    return labels


def two_organs(shape: tuple[int, ...]) -> np.ndarray:
    """A liver with a gap between its slices, and a spleen that ends on the last slice."""
    width, height, count = shape
    labels = np.zeros(shape, np.uint8)
    labels[2 : width // 2, 4 : height // 2, [1, 3]] = 1
    labels[width // 2 : width - 3, height // 2 :, count - 2 :] = 2
    return labels


@pytest.mark.parametrize("kind", ["mr", "ct"])
def test_a_saved_label_comes_back_voxel_for_voxel(
    pacs: RunningOrthanc, mr_folder: Path, tmp_path: Path, kind: str
) -> None:
    image = series_of(mr_folder if kind == "mr" else CT_SERIES)
    writer = open_store(pacs, tmp_path / "first")
    volume = read_volume(Path(writer.get_image_uri(image)))
    labels = two_organs(volume.shape)
    save(writer, image, labels, tmp_path)
    fresh = read(open_store(pacs, tmp_path / "second"))
    assert fresh.skipped == ()
    np.testing.assert_array_equal(drawn(fresh, volume.shape), labels)
    for part in fresh.images:
        assert part.name.startswith(f"{image}#k")
        assert part.modality == kind.upper()
        np.testing.assert_array_equal(part.image, volume.slice(int(part.name[-4:])))
    # Who saved it reads its own copy and gets the same.
    assert read(writer).digest == fresh.digest


def test_the_newest_of_several_saves_wins(
    pacs: RunningOrthanc, mr_folder: Path, tmp_path: Path
) -> None:
    image = series_of(mr_folder)
    writer = open_store(pacs, tmp_path / "first")
    first = two_organs(MR_SHAPE)
    save(writer, image, first, tmp_path)
    save(writer, image, first[::-1, ::-1], tmp_path)
    assert len(pacs.series_uids("SEG")) == 2
    fresh = read(open_store(pacs, tmp_path / "second"))
    np.testing.assert_array_equal(drawn(fresh, MR_SHAPE), first[::-1, ::-1])


def test_patients_are_told_apart_by_their_id(
    pacs: RunningOrthanc, mr_folder: Path, tmp_path: Path
) -> None:
    store = open_store(pacs, tmp_path / "first")
    for folder in (mr_folder, CT_SERIES):
        image = series_of(folder)
        shape = read_volume(Path(store.get_image_uri(image))).shape
        save(store, image, two_organs(shape), tmp_path)
    found = read(open_store(pacs, tmp_path / "second"))
    headers = [pydicom.dcmread(next(folder.iterdir())) for folder in (mr_folder, CT_SERIES)]
    assert {part.patient for part in found.images} == {str(h.PatientID) for h in headers}
    assert not any(str(h.PatientName) in repr(found) for h in headers)


def test_labels_of_images_beyond_the_filter_are_counted(
    pacs: RunningOrthanc, mr_folder: Path, tmp_path: Path
) -> None:
    store = open_store(pacs, tmp_path / "first")
    save(store, series_of(mr_folder), two_organs(MR_SHAPE), tmp_path)
    found = read(open_store(pacs, tmp_path / "second", Modality="CT"))
    assert found.images == ()
    assert found.counts() == {NOT_LISTED: 1}


def test_nothing_labelled_and_a_pacs_that_is_down(pacs: RunningOrthanc, tmp_path: Path) -> None:
    store = open_store(pacs, tmp_path / "first")
    assert read(store) == LabelledSlices((), ())
    pacs.process.terminate()
    pacs.process.wait(timeout=60)
    with pytest.raises(UnavailableError, match="PACS"):
        read(store)

"""DICOM SEGs of our writer in a real PACS, read back by a server that has never seen them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicomweb_client import DICOMwebClient
from monailabel.datastore.utils.convert import dicom_seg_to_itk_image, nifti_to_dicom_seg
from pydicom.uid import generate_uid

from lib.imaging.dicom_seg import SegLabels, read_seg
from lib.imaging.grid import Volume
from lib.imaging.seg_writer import SegFacts, SegSegment, write_seg
from lib.imaging.segmentation import write_label
from lib.imaging.volume import ReadLimits, read_volume
from lib.server.datastore import PacsDatastore
from lib.server.host import find_dcmqi
from lib.server.labelled import read_labelled
from tests.support.dicom_files import mr_array, write_mr_series
from tests.support.dicom_series import axial, oblique, write_series
from tests.support.orthanc import RunningOrthanc, start_orthanc

pytestmark = pytest.mark.pacs

SEGMENTS = (
    SegSegment(7, "Läsion 2", "SEMIAUTOMATIC"),
    SegSegment(2, "liver", "MANUAL"),
    SegSegment(3, "not drawn", "MANUAL"),
)
NAMES = {2: "liver", 7: "Läsion 2"}
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Stored:
    """A series that lies in the PACS, and its files as the sender has them."""

    files: list[Path]
    uid: str


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrthanc]:
    with start_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


def write_sagittal_jpeg_2000(folder: Path) -> list[Path]:
    write_mr_series(folder, mr_array(), jpeg_2000=True)
    return list(folder.iterdir())


MAKERS: dict[str, Callable[[Path], list[Path]]] = {
    "axial": lambda folder: write_series(folder, axial()),
    "oblique": lambda folder: write_series(folder, oblique()),
    "sagittal": write_sagittal_jpeg_2000,
}


@pytest.fixture(scope="module")
def stored(
    request: pytest.FixtureRequest, pacs: RunningOrthanc, tmp_path_factory: pytest.TempPathFactory
) -> Stored:
    folder = tmp_path_factory.mktemp("series")
    files = MAKERS[request.param](folder)
    pacs.stow(folder)
    return Stored(files, str(pydicom.dcmread(files[0]).SeriesInstanceUID))


each_series = pytest.mark.parametrize("stored", list(MAKERS), indirect=True)


def fresh_store(pacs: RunningOrthanc, cache: Path) -> PacsDatastore:
    """As a server that has just been installed has it."""
    find_dcmqi()
    client = DICOMwebClient(pacs.dicom_web)
    return PacsDatastore(client=client, search_filter={}, cache_path=str(cache))


def facts(reviewed: frozenset[int] = frozenset()) -> SegFacts:
    return SegFacts(generate_uid(), generate_uid(), datetime.now(), reviewed=reviewed)


def save(
    pacs: RunningOrthanc,
    stored: Stored,
    labels: np.ndarray,
    volume: Volume,
    folder: Path,
    reviewed: frozenset[int] = frozenset(),
) -> None:
    path = folder / "seg" / "seg.dcm"
    path.parent.mkdir()
    write_seg(path, labels, volume.affine, SEGMENTS, stored.files, facts(reviewed))
    pacs.stow(path.parent)


def read_back(store: PacsDatastore, image: str) -> SegLabels:
    """The newest SEG of an image on the image's grid."""
    newest = next(seg for seg in store.segs.listed() if seg.image == image)
    (instance,) = newest.instances
    volume = read_volume(Path(store.get_image_uri(image)))
    with TemporaryDirectory() as folder:
        path = store.segs.download(newest, instance, Path(folder))
        return read_seg(path, volume.affine, volume.shape)


def full(shape: Shape) -> np.ndarray:
    return np.full(shape, 7, np.uint8)


def one_slice(shape: Shape) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[3:9, 4:15, 2] = 2
    return labels


def gapped(shape: Shape) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[2:7, 1:9, [0, 3, shape[2] - 1]] = 7
    return labels


def several(shape: Shape) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[1:9, 1:11, :2] = 7
    labels[10:16, 3:9, 1:4] = 2
    return labels


@each_series
@pytest.mark.parametrize("labels", [full, one_slice, gapped, several])
def test_comes_back_from_the_pacs_voxel_for_voxel(
    pacs: RunningOrthanc, stored: Stored, labels: Callable[[Shape], np.ndarray], tmp_path: Path
) -> None:
    volume = read_volume(Path(fresh_store(pacs, tmp_path / "a").get_image_uri(stored.uid)))
    drawn = labels(volume.shape)
    save(pacs, stored, drawn, volume, tmp_path)
    fresh = fresh_store(pacs, tmp_path / "b")
    found = read_back(fresh, stored.uid)
    values = [int(value) for value in np.unique(drawn) if value]
    assert found.names == {n: NAMES[value] for n, value in enumerate(values, start=1)}
    for number, value in enumerate(values, start=1):
        np.testing.assert_array_equal(found.labels == number, drawn == value)
    assert found.warnings == ()
    assert stored.uid in fresh.get_labeled_images()


@each_series
def test_a_server_learns_from_it(pacs: RunningOrthanc, stored: Stored, tmp_path: Path) -> None:
    volume = read_volume(Path(fresh_store(pacs, tmp_path / "a").get_image_uri(stored.uid)))
    drawn = several(volume.shape)
    save(pacs, stored, drawn, volume, tmp_path)
    found = read_labelled(fresh_store(pacs, tmp_path / "b"), ReadLimits())
    slices = [part for part in found.images if part.name.startswith(f"{stored.uid}#k")]
    assert len(slices) == 4
    values = {name: value for value, name in NAMES.items()}
    again = np.zeros_like(drawn)
    for part in slices:
        for mask, label in zip(part.masks, part.labels, strict=True):
            again[:, :, int(part.name[-4:])][mask.T] = values[label]
    np.testing.assert_array_equal(again, drawn)


@each_series
def test_nothing_found_is_an_answer(pacs: RunningOrthanc, stored: Stored, tmp_path: Path) -> None:
    volume = read_volume(Path(fresh_store(pacs, tmp_path / "a").get_image_uri(stored.uid)))
    save(pacs, stored, np.zeros(volume.shape, np.uint8), volume, tmp_path, frozenset({1, 4}))
    found = read_back(fresh_store(pacs, tmp_path / "b"), stored.uid)
    assert not found.labels.any()
    assert found.reviewed == {1, 4}


@pytest.mark.parametrize("stored", ["axial"], indirect=True)
def test_the_hosts_writer_gives_a_label_the_name_of_another(stored: Stored, tmp_path: Path) -> None:
    """Why there is a writer of our own: the host gives the names away by position."""
    find_dcmqi()
    names = ["organ", "lesion"]
    volume = read_volume(stored.files[0].parent)
    lesion = one_slice(volume.shape)
    assert set(np.unique(lesion)) == {0, 2}
    label = tmp_path / "label.nii.gz"
    write_label(label, lesion, volume.affine)
    folder, listed = str(stored.files[0].parent), [{"name": name} for name in names]
    for use_itk in (True, False):
        path = Path(nifti_to_dicom_seg(folder, str(label), listed, use_itk=use_itk))
        assert list(read_seg(path, volume.affine, volume.shape).names.values()) == ["organ"]
        path.unlink()
    write_label(label, np.zeros(volume.shape, np.uint8), volume.affine)
    assert nifti_to_dicom_seg(folder, str(label), listed) == ""  # "nothing here" is not stored

    segments = [SegSegment(n, name, "MANUAL") for n, name in enumerate(names, start=1)]
    ours = tmp_path / "seg.dcm"
    write_seg(ours, lesion, volume.affine, segments, stored.files, facts())
    found = read_seg(ours, volume.affine, volume.shape)
    assert found.names == {1: "lesion"}
    np.testing.assert_array_equal(found.labels == 1, lesion == 2)


@pytest.mark.parametrize("stored", ["axial"], indirect=True)
def test_the_hosts_reader_loses_the_grid_of_the_image(stored: Stored, tmp_path: Path) -> None:
    volume = read_volume(stored.files[0].parent)
    drawn = gapped(volume.shape)
    drawn[:, :, 0] = 0
    path = tmp_path / "seg.dcm"
    write_seg(path, drawn, volume.affine, SEGMENTS, stored.files, facts())
    theirs = Path(dicom_seg_to_itk_image(str(path)))
    assert sitk.ReadImage(str(theirs)).GetSize() != volume.shape
    theirs.unlink()
    found = read_seg(path, volume.affine, volume.shape)
    np.testing.assert_array_equal(found.labels == 1, drawn == 7)

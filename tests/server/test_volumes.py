import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from lib.errors import ImageError, NotFoundError
from lib.imaging.volume import ReadLimits
from lib.server import volumes
from lib.server.volumes import VolumeStore
from tests.support.studies import OBLIQUE, PICTURE, SHAPES, oblique_affine

MANY = 1 << 30


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that were really read."""
    names = []
    read = volumes.read_volume

    def counted(path, limits):
        names.append(path.name)
        return read(path, limits)

    monkeypatch.setattr(volumes, "read_volume", counted)
    return names


@pytest.fixture
def image(small_study, tmp_path):
    return shutil.copy(small_study / f"{OBLIQUE}.nii.gz", tmp_path / "1.2.3.nii.gz")


def test_a_volume_is_read_once(image, reads):
    store = VolumeStore(MANY, ReadLimits())
    first = store.get(image)
    assert store.get(image) is first
    assert first.shape == SHAPES[OBLIQUE]
    np.testing.assert_allclose(first.affine, oblique_affine(), atol=1e-5)
    assert len(reads) == 1


def test_simultaneous_requests_read_once(image, reads):
    store = VolumeStore(MANY, ReadLimits())
    with ThreadPoolExecutor(4) as pool:
        got = set(pool.map(store.get, [image] * 8))
    assert len(got) == 1
    assert len(reads) == 1


def test_a_changed_file_is_read_again(image, reads):
    store = VolumeStore(MANY, ReadLimits())
    store.get(image)
    os.utime(image, ns=(1, 1))
    store.get(image)
    assert len(reads) == 2


def test_a_volume_larger_than_the_cache_is_not_kept(image, reads):
    store = VolumeStore(10, ReadLimits())
    store.get(image)
    store.get(image)
    assert len(reads) == 2


def test_limits_are_passed_on(image):
    with pytest.raises(ImageError, match="max_voxels"):
        VolumeStore(MANY, ReadLimits(max_voxels=100)).get(image)


def test_a_file_that_is_gone(tmp_path):
    with pytest.raises(NotFoundError, match="gone"):
        VolumeStore(MANY, ReadLimits()).get(tmp_path / "gone.nii.gz")


def test_a_picture_is_a_volume_of_one_slice(small_study):
    volume = VolumeStore(MANY, ReadLimits()).get(small_study / f"{PICTURE}.png")
    assert volume.shape == SHAPES[PICTURE]
    assert volume.is_colour


def write_header(path, **tags):
    """A DICOM file without pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


def test_an_image_of_a_pacs_has_modality_and_body_part(image):
    folder = image.with_name("1.2.3")
    folder.mkdir()
    (folder / "0-notes.txt").write_text("no DICOM")
    write_header(folder / "1.dcm", Modality="MR", BodyPartExamined="LIVER ")
    volume = VolumeStore(MANY, ReadLimits()).get(image)
    assert (volume.modality, volume.body_part) == ("MR", "LIVER")


def test_a_dicom_folder_that_says_nothing_changes_nothing(image):
    alone = VolumeStore(MANY, ReadLimits()).get(image)
    folder = image.with_name("1.2.3")
    folder.mkdir()
    write_header(folder / "1.dcm", Modality="")
    beside = VolumeStore(MANY, ReadLimits()).get(image)
    assert (beside.modality, beside.body_part) == (alone.modality, None)

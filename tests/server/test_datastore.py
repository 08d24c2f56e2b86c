"""Against a PACS in memory; tests/pacs does the same against Orthanc."""

import errno
import socket
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import SimpleITK
from dicomweb_client import DICOMwebClient
from monailabel.datastore.local import LocalDatastore
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from lib.errors import ImageError, NotFoundError, UnavailableError
from lib.imaging import dicomweb
from lib.server import datastore
from lib.server.datastore import PacsDatastore

STUDY = "1.2.3"
CT, MR, SEG, REPORT, FOREIGN_SEG = (f"{STUDY}.{n}" for n in range(5))


def ct_slice(k):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    tags = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": CT,
        "Modality": "CT",
        "InstanceNumber": k,
        "ImagePositionPatient": [0, 0, 3 * k],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.5, 0.75],
        "RescaleSlope": 1,
        "RescaleIntercept": -1000,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 6,
        "Columns": 8,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelData": np.full((6, 8), 1000 + k, dtype=np.uint16).tobytes(),
    }
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


class FakePacs:
    """Answers like a DICOMweb client, from memory."""

    base_url = "http://pacs.invalid/dicom-web"

    def __init__(self):
        self.modality = {CT: "CT", MR: "MR", SEG: "SEG", REPORT: "SR", FOREIGN_SEG: "SEG"}
        self.slices = [ct_slice(k) for k in range(4)]
        self.sent = self.slices
        self.down = False
        self.questions = []
        self._session = SimpleNamespace(mount=lambda *args: None)

    def set_http_retry_params(self, **kwargs):
        pass

    def _ask(self, what):
        self.questions.append(what)
        if self.down:
            raise requests.ConnectionError("refused")

    def search_for_series(self, search_filters):
        self._ask("series")
        found = []
        for uid, modality in self.modality.items():
            series = Dataset()
            series.StudyInstanceUID, series.SeriesInstanceUID = STUDY, uid
            series.Modality = modality
            if all(str(series.get(k)) == v for k, v in search_filters.items()):
                found.append(series.to_json_dict())
        return found

    def search_for_instances(self, study, series):
        self._ask("instances")
        return [{} for _ in self.slices] if series == CT else [{}]

    def retrieve_series(self, study, series, media_types=None):
        self._ask("retrieve")
        return self.sent

    def retrieve_series_metadata(self, study, series):
        self._ask("metadata")
        seg, reference = Dataset(), Dataset()
        seg.SOPInstanceUID = f"{series}.1"
        reference.SeriesInstanceUID = CT if series == SEG else "9.9.9"
        seg.ReferencedSeriesSequence = [reference]
        return [seg.to_json_dict()]


@pytest.fixture
def pacs():
    return FakePacs()


@pytest.fixture
def store(pacs, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return PacsDatastore(
        client=pacs,
        search_filter={},
        cache_path=str(tmp_path / "cache"),
        journal=tmp_path / "journal",
    )


def stored(store):
    """Names in the cache folder that belong to images."""
    folder = Path(store._datastore.image_path()).resolve()
    names = (path.name for path in (*folder.iterdir(), *folder.parent.iterdir()))
    return sorted(name for name in names if name.startswith((STUDY, ".part")))


def test_segmentations_and_reports_are_no_images(store):
    assert store.list_images() == [CT, MR]


def test_a_filter_still_holds(pacs, tmp_path):
    store = PacsDatastore(client=pacs, search_filter={"Modality": "MR"}, cache_path=str(tmp_path))
    assert store.list_images() == [MR]


def test_labelled_images_are_those_a_seg_refers_to(store):
    assert store.get_labeled_images() == [CT]
    assert store.get_unlabeled_images() == [MR]


def test_each_seg_is_looked_at_once(store, pacs):
    store.get_labeled_images()
    store._lists.clear()
    store.get_labeled_images()
    assert pacs.questions.count("metadata") == 2


def test_an_image_is_downloaded_converted_and_registered(store, tmp_path):
    path = store.get_image_uri(CT)
    image = SimpleITK.ReadImage(path)
    assert image.GetSize() == (8, 6, 4)
    assert SimpleITK.GetArrayFromImage(image)[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert path.endswith(f"{CT}.nii.gz")
    assert stored(store) == [CT, f"{CT}.nii.gz"]
    assert store.get_image_info(CT)["Modality"] == "CT"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_second_request_asks_the_pacs_nothing(store, pacs):
    path = store.get_image_uri(CT)
    pacs.questions.clear()
    pacs.down = True
    assert store.get_image_uri(CT) == path
    assert pacs.questions == []


def test_a_series_that_arrives_in_part_is_not_kept(store, pacs):
    pacs.sent = pacs.slices[:3]
    with pytest.raises(UnavailableError, match="3 of 4 files"):
        store.get_image_uri(CT)
    assert stored(store) == []
    pacs.sent = pacs.slices
    assert SimpleITK.ReadImage(store.get_image_uri(CT)).GetSize() == (8, 6, 4)


def test_an_interrupted_download_of_before_is_repeated(store, pacs, tmp_path):
    folder = Path(store._datastore.image_path(), CT)
    folder.mkdir()
    pacs.slices[0].save_as(folder / "0.dcm")
    assert SimpleITK.ReadImage(store.get_image_uri(CT)).GetSize() == (8, 6, 4)


@pytest.mark.parametrize("uid", ["9.9.9", "..", "../x", "", "1.2/3", "abc", "1" * 65, "1..2"])
def test_unknown_and_impossible_uids(store, uid):
    with pytest.raises(NotFoundError):
        store.get_image_uri(uid)
    assert stored(store) == []


def test_a_series_without_pixels_is_no_image(store, pacs):
    report = ct_slice(0)
    del report.PixelData, report.Rows, report.Columns
    pacs.sent = [report]
    with pytest.raises(ImageError, match=REPORT):
        store.get_image_uri(REPORT)


@pytest.mark.parametrize("question", ["list_images", "get_labeled_images", "status"])
def test_a_pacs_that_is_down(store, pacs, question):
    pacs.down = True
    with pytest.raises(UnavailableError, match="refused"):
        getattr(store, question)()


def test_dicom_folders_instead_of_nifti(pacs, tmp_path):
    store = PacsDatastore(
        client=pacs, search_filter={}, cache_path=str(tmp_path), convert_to_nifti=False
    )
    folder = store.get_image_uri(CT)
    assert folder.endswith(CT)
    assert len(stored(store)) == 1


def test_a_full_disk_leaves_no_part_of_a_series(store, pacs, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(FileDataset, "save_as", full)
        with pytest.raises(UnavailableError, match="No space left"):
            store.get_image_uri(CT)
    assert stored(store) == []
    assert SimpleITK.ReadImage(store.get_image_uri(CT)).GetSize() == (8, 6, 4)


def test_an_image_written_in_part_is_not_kept(store, monkeypatch):
    def cut(folder, target, limits):
        target.write_bytes(b"half of it")
        raise UnavailableError(got="no room")

    with monkeypatch.context() as patch:
        patch.setattr(datastore, "convert_series", cut)
        with pytest.raises(UnavailableError, match="no room"):
            store.get_image_uri(CT)
    assert stored(store) == [CT]
    assert SimpleITK.ReadImage(store.get_image_uri(CT)).GetSize() == (8, 6, 4)


def test_no_pixel_is_decoded_in_this_process(pacs, tmp_path, monkeypatch):
    def never(*args):
        raise AssertionError("decoded here")

    for reader in ("ImageFileReader", "ImageSeriesReader", "ReadImage"):
        monkeypatch.setattr(SimpleITK, reader, never)
    monkeypatch.setattr(Dataset, "convert_pixel_data", never)
    for to_nifti in (True, False):
        home = tmp_path / str(to_nifti)
        store = PacsDatastore(
            client=pacs, search_filter={}, cache_path=str(home), convert_to_nifti=to_nifti
        )
        assert Path(store.get_image_uri(CT)).exists()


def damaged(**tags):
    """A slice whose header or pixels are not what they should be."""
    dataset = ct_slice(0)
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def not_what_it_says():
    """Bytes that are no JPEG 2000, where some are announced."""
    dataset = damaged(PixelData=encapsulate([bytes(range(256)) * 4]))
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    return dataset


DAMAGED = {
    "cut off": lambda: damaged(PixelData=bytes(10)),
    "announces 3.6 billion pixels": lambda: damaged(Rows=60000, Columns=60000),
    "garbage in its stream": not_what_it_says,
    "more frames than pixels": lambda: damaged(NumberOfFrames=40),
}


@pytest.mark.parametrize("to_nifti", [True, False])
@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_series_is_refused_with_a_sentence(pacs, tmp_path, what, to_nifti):
    pacs.slices = pacs.sent = [DAMAGED[what]()]
    store = PacsDatastore(
        client=pacs, search_filter={}, cache_path=str(tmp_path), convert_to_nifti=to_nifti
    )
    with pytest.raises(ImageError, match="Got: "):
        store.get_image_uri(CT)
    assert f"{CT}.nii.gz" not in stored(store)
    pacs.slices = pacs.sent = [ct_slice(k) for k in range(4)]
    assert Path(store.get_image_uri(CT)).exists()


@pytest.mark.parametrize(
    "answer", [None, "<html>", [1], [{}], [{"0020000E": 3}], [{"x": {"vr": "UI"}}]]
)
@pytest.mark.parametrize("question", ["list_images", "get_labeled_images", "status", "image"])
def test_garbage_is_an_error_of_ours(store, pacs, monkeypatch, question, answer):
    monkeypatch.setattr(pacs, "search_for_series", lambda search_filters: answer)
    ask = (lambda: store.get_image_uri(CT)) if question == "image" else getattr(store, question)
    with pytest.raises((UnavailableError, NotFoundError)):
        ask()


def test_a_silent_pacs_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(dicomweb, "TIMEOUT", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = DICOMwebClient(f"http://127.0.0.1:{silent.getsockname()[1]}")
        store = PacsDatastore(client=client, search_filter={}, cache_path=str(tmp_path))
        with pytest.raises(UnavailableError, match="no usable answer"):
            store.list_images()


def test_the_folder_is_listed_by_one_thread_at_a_time(store, monkeypatch):
    # The host's thread that watches the folder and a request that adds an image do it both.
    within, most, enough = [], [], threading.Event()

    def list_slowly(self):
        within.append(self)
        most.append(len(within))
        enough.wait(0.02)
        within.pop()

    monkeypatch.setattr(LocalDatastore, "_reconcile_datastore", list_slowly)
    threads = [threading.Thread(target=store.refresh) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5

"""Faults in the middle of things, with a real Orthanc: nothing is lost, nothing is twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from dicomweb_client import DICOMwebClient

from lib.errors import UnavailableError
from lib.imaging.volume import ReadLimits, read_volume
from lib.server.datastore import PacsDatastore
from lib.server.host import find_dcmqi
from lib.server.label_check import LabelMap
from lib.server.labelled import read_labelled
from tests.support.cutting_proxy import CuttingProxy, start_cutting_proxy
from tests.support.dicom_files import MR_SHAPE, mr_array, write_mr_series
from tests.support.orthanc import RunningOrthanc, start_orthanc
from tests.support.server import REPOSITORY, free_port, start_server

pytestmark = pytest.mark.pacs

NAMES = {"label_info": [{"name": "liver", "idx": 1}]}


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("mr")
    return write_mr_series(folder, mr_array()), folder


class Archive:
    """An Orthanc that is stopped and started again at one address, behind a proxy."""

    def __init__(self, home: Path) -> None:
        self._home, self._port = home, free_port()
        self._context: object = None

    def start(self) -> RunningOrthanc:
        context = start_orthanc(self._home, port=self._port)
        self.running, self._context = context.__enter__(), context
        return self.running

    def kill(self) -> None:
        self.running.process.kill()
        self.running.process.wait()

    def stop(self) -> None:
        self._context.__exit__(None, None, None)  # type: ignore[attr-defined]


@pytest.fixture
def archive(tmp_path: Path, series: tuple[str, Path]) -> Iterator[Archive]:
    home = tmp_path / "orthanc"
    home.mkdir()
    archive = Archive(home)
    archive.start().stow(series[1])
    yield archive
    archive.stop()


@pytest.fixture
def proxy(archive: Archive) -> Iterator[CuttingProxy]:
    address = urlsplit(archive.running.url)
    with start_cutting_proxy(str(address.hostname), int(address.port or 0)) as proxy:
        yield proxy


def open_store(url: str, home: Path) -> PacsDatastore:
    find_dcmqi()
    return PacsDatastore(
        client=DICOMwebClient(url),
        search_filter={},
        cache_path=str(home / "cache"),
        journal=home / "journal",
    )


def drawing(first: int = 5) -> np.ndarray:
    labels = np.zeros(MR_SHAPE, np.uint8)
    labels[first:30, 10:31, 2:4] = 1
    return labels


def label_file(store: PacsDatastore, image: str, folder: Path, first: int = 5) -> Path:
    path = folder / "client.nii.gz"
    LabelMap(drawing(first), read_volume(Path(store.get_image_uri(image))).affine).write(path)
    return path


def check_whole(pacs: RunningOrthanc, store: PacsDatastore, image: str, labels: int = 1) -> None:
    """Every label of the journal is in the PACS, once; the newest is learned from, once."""
    saved = [entry.series_uid for entry in store.labels.journal.entries()]
    assert len(saved) == labels
    assert pacs.series_uids("SEG") == sorted(saved)
    for series in saved:
        (found,) = pacs.client().search_for_series(search_filters={"SeriesInstanceUID": series})
        study = found["0020000D"]["Value"][0]
        assert len(pacs.client().search_for_instances(study, series)) == 1
    learned = read_labelled(store, ReadLimits())
    assert learned.skipped == ()
    assert [part.name for part in learned.images] == [f"{image}#k0002", f"{image}#k0003"]
    assert store.labels.journal.damaged() == ()


def deliver_all(store: PacsDatastore) -> None:
    """Until nothing waits any more."""
    store.labels.delivery.follow()
    deadline = time.monotonic() + 120
    while store.labels.journal.pending():
        assert time.monotonic() < deadline, store.labels.journal.pending()
        time.sleep(0.05)


@pytest.mark.parametrize("moment", ["before it is sent", "after it is sent"])
def test_orthanc_is_killed_in_the_middle_of_a_save(
    archive: Archive,
    series: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    store = open_store(archive.running.dicom_web, tmp_path / "first")
    file = label_file(store, series[0], tmp_path)
    send = store._client.store_instances

    def killing(datasets: object) -> object:
        if moment == "before it is sent":
            archive.kill()
            return send(datasets)
        answer = send(datasets)
        archive.kill()
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(store._client, "store_instances", killing)
        entry = store.save_final(series[0], file, dict(NAMES))
        assert entry.state == "pending"
    archive.stop()
    pacs = archive.start()
    again = open_store(pacs.dicom_web, tmp_path / "first")  # after a restart of the server too
    assert again.get_labeled_images() == [series[0]]
    deliver_all(again)
    check_whole(pacs, again, series[0])
    fresh = open_store(pacs.dicom_web, tmp_path / "fresh")
    values = read_volume(Path(fresh.get_label_uri(series[0], "final"))).array
    np.testing.assert_array_equal(values, drawing())


@pytest.mark.parametrize("bytes_until", [0, 150, 20_000, 33_000])
@pytest.mark.parametrize("killed", [False, True])
def test_a_download_ends_in_the_middle(
    archive: Archive,
    proxy: CuttingProxy,
    series: tuple[str, Path],
    tmp_path: Path,
    bytes_until: int,
    killed: bool,
) -> None:
    store = open_store(f"{proxy.url}/dicom-web", tmp_path)
    proxy.cut_after = bytes_until
    if killed:
        proxy.on_cut = archive.kill
    with pytest.raises(UnavailableError):
        store.get_image_uri(series[0])
    assert proxy.cuts > 0
    left = [path.name for path in Path(store._datastore_path).rglob(f"*{series[0]}*")]
    assert left == []
    proxy.cut_after = None
    if killed:
        archive.stop()
        archive.start()
    again = open_store(f"{proxy.url}/dicom-web", tmp_path)
    np.testing.assert_array_equal(
        read_volume(Path(again.get_image_uri(series[0]))).array, mr_array()
    )
    assert len(again.series_files(series[0])) == MR_SHAPE[2]


def test_a_label_comes_back_cut_off(
    archive: Archive,
    proxy: CuttingProxy,
    series: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is in the PACS, and the proof fails: it is proven later and not sent twice."""
    store = open_store(f"{proxy.url}/dicom-web", tmp_path)
    file = label_file(store, series[0], tmp_path)
    fetch = store._client.retrieve_instance

    def cut(*args: object, **kwargs: object) -> object:
        proxy.cut_after = 700
        return fetch(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(store._client, "retrieve_instance", cut)
        entry = store.save_final(series[0], file, dict(NAMES))
    assert (entry.state, bool(entry.problem)) == ("pending", True)
    assert proxy.cuts > 0
    assert len(archive.running.series_uids("SEG")) == 1
    proxy.cut_after = None
    deliver_all(store)
    check_whole(archive.running, store, series[0])


FULL = """
import resource, sys
from pathlib import Path
from dicomweb_client import DICOMwebClient
from lib.errors import UnavailableError
from lib.server.datastore import PacsDatastore
url, home, image, file, what, limit = sys.argv[1:]
store = PacsDatastore(client=DICOMwebClient(url), search_filter={},
                      cache_path=home + "/cache", journal=Path(home, "journal"))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    if what == "open":
        store.get_image_uri(image)
    else:
        print(store.save_final(image, Path(file), {}).state)
except UnavailableError as error:
    print(error.message)
"""
"""A process in which no file may be larger, as on a full disk: the write fails half way."""


def in_full_process(url: str, home: Path, image: str, file: Path, what: str, limit: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", FULL, url, str(home), image, str(file), what, str(limit)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("limit", [2000, 10_000])
def test_the_disk_of_the_cache_is_full(
    archive: Archive, series: tuple[str, Path], tmp_path: Path, limit: int
) -> None:
    """2,000 bytes are too few for a file of the series, 10,000 for its NIfTI file."""
    url = archive.running.dicom_web
    said = in_full_process(url, tmp_path, series[0], tmp_path, "open", limit)
    assert "no room" in said.lower(), said
    store = open_store(url, tmp_path)
    assert not list(Path(store._datastore_path).rglob(f"{series[0]}.nii.gz"))
    np.testing.assert_array_equal(
        read_volume(Path(store.get_image_uri(series[0]))).array, mr_array()
    )
    assert len(store.series_files(series[0])) == MR_SHAPE[2]


@pytest.mark.parametrize(("limit", "kept"), [(100, 0), (2500, 1)])
def test_the_disk_is_full_while_a_label_is_saved(
    archive: Archive, series: tuple[str, Path], tmp_path: Path, limit: int, kept: int
) -> None:
    """100 bytes are too few for the journal, 2,500 for the DICOM SEG."""
    store = open_store(archive.running.dicom_web, tmp_path)
    file = label_file(store, series[0], tmp_path)
    said = in_full_process(archive.running.dicom_web, tmp_path, series[0], file, "save", limit)
    again = open_store(archive.running.dicom_web, tmp_path)
    entries = again.labels.journal.entries()
    assert len(entries) == kept
    if not kept:
        assert "no room" in said or "NOT saved" in said
        assert archive.running.series_uids("SEG") == []
        again.save_final(series[0], file, dict(NAMES))
    else:
        assert said == "pending"
    deliver_all(again)
    check_whole(archive.running, again, series[0])


SAVER = """
import sys
from pathlib import Path
from dicomweb_client import DICOMwebClient
from lib.server.datastore import PacsDatastore
url, home, image, file = sys.argv[1:]
store = PacsDatastore(client=DICOMwebClient(url), search_filter={},
                      cache_path=home + "/cache", journal=Path(home, "journal"))
print("ready", flush=True)
while True:
    print("saved", store.save_final(image, Path(file), {}).key, flush=True)
"""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_process_is_killed_while_it_saves(
    archive: Archive, series: tuple[str, Path], tmp_path: Path, seed: int
) -> None:
    store = open_store(archive.running.dicom_web, tmp_path)
    file = label_file(store, series[0], tmp_path)
    address = [archive.running.dicom_web, str(tmp_path), series[0], str(file)]
    process = subprocess.Popen(
        [sys.executable, "-c", SAVER, *address],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    rng = random.Random(seed)
    said = [process.stdout.readline() for _ in range(1 + seed)]
    time.sleep(rng.uniform(0, 0.3))
    process.send_signal(signal.SIGKILL)
    said += process.stdout.read().splitlines()
    process.wait()
    again = open_store(archive.running.dicom_web, tmp_path)
    keys = {entry.key for entry in again.labels.journal.entries()}
    assert {line.split()[1] for line in said if line.startswith("saved ")} <= keys
    deliver_all(again)
    check_whole(archive.running, again, series[0], labels=len(keys))


@pytest.mark.server
def test_a_server_is_killed_before_the_pacs_has_its_label(
    archive: Archive,
    proxy: CuttingProxy,
    series: tuple[str, Path],
    random_weights: Path,
    tmp_path: Path,
) -> None:
    conf = {"architecture": "samed2d_t", "checkpoint": str(random_weights)}
    env = {"SAMED2D_JOURNAL": str(tmp_path / "journal")}
    file = label_file(open_store(archive.running.dicom_web, tmp_path), series[0], tmp_path)
    url, image = f"{proxy.url}/dicom-web", series[0]
    with start_server(url, conf=conf, env=env) as server:
        opened = requests.get(f"{server.url}/datastore/image?image={image}", timeout=60)
        assert opened.ok
        proxy.cut_after = 0
        answer = requests.put(
            f"{server.url}/datastore/label",
            params={"image": image},
            data={"params": json.dumps(NAMES)},
            files={"label": (file.name, file.read_bytes())},
            timeout=120,
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["stored"] is False
        server.process.kill()
        server.process.wait()
    assert archive.running.series_uids("SEG") == []
    proxy.cut_after = None
    # Another cache folder, the same journal.
    with start_server(url, conf=conf, env=env) as server:
        status: Callable[[], dict[str, int]] = lambda: requests.get(  # noqa: E731
            f"{server.url}/datastore/", timeout=60
        ).json()
        assert status()["completed"] == 1
        deadline = time.monotonic() + 60
        while not archive.running.series_uids("SEG"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert status()["completed"] == 1
        train = requests.get(f"{server.url}/datastore/?output=train", timeout=60).json()
        assert len(train) == 1
    assert len(archive.running.series_uids("SEG")) == 1

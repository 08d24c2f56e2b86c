from pathlib import Path

import nibabel
import numpy as np
import pytest
from monailabel.datastore.local import LocalDatastore

from lib.errors import RequestError
from lib.imaging.volume import ReadLimits
from lib.networks import installed_weights
from lib.options import AppOptions
from lib.server import batch, running
from lib.server.batch import BatchSettings, PreAnnotateTask
from lib.server.infer import Samed2dInferTask
from lib.server.models import ModelSpec, NetworkChoice
from lib.server.served_model import ServedModel
from lib.server.volumes import VolumeStore
from tests.support.small_sam import disc

OPTIONS = AppOptions(device="cpu", backend="torch", intensity="minmax", encode_ahead="off")
SIZE = 96

HOST_DEFAULT = {
    "model": "samed2d",
    "images": "unlabeled",
    "device": "cuda",
    "multi_gpu": True,
    "gpus": "all",
    "logging": "WARNING",
    "save_label": True,
    "label_tag": "original",
    "max_workers": 1,
    "max_batch_size": 0,
}
"""What the host sends where a client sends nothing."""


@pytest.fixture(autouse=True)
def in_a_server(monkeypatch):
    """Do not change the priority of the test's process."""
    for module in (batch, running):
        monkeypatch.setattr(module, "running_server", lambda: True)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    options = AppOptions(
        **{**vars(OPTIONS), "cache_dir": tmp_path_factory.mktemp("cache"), "registry": None}
    )
    choice = NetworkChoice("samed2d_t", installed_weights("samed2d_t"))
    limits = ReadLimits()
    spec = ModelSpec("samed2d", "click", "Click.", 2, ("samed2d_t",))
    click = Samed2dInferTask(spec, options, ServedModel(choice, options), VolumeStore(0, limits))
    return PreAnnotateTask(click, limits)


def write_image(folder, name, x, y, slices=1):
    """A noisy volume with a bright disc on every slice."""
    rng = np.random.default_rng(x)
    image = rng.normal(60, 6, (SIZE, SIZE, slices)).astype(np.float32)
    image[disc(x, y, 16, SIZE).T] += 120
    nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), folder / f"{name}.nii.gz")


@pytest.fixture
def store(tmp_path):
    """Three pictures with a disc, the first of them labelled."""
    for name, x in (("a", 40), ("b", 50), ("c", 60)):
        write_image(tmp_path, name, x, 50)
    datastore = LocalDatastore(str(tmp_path), extensions=["*.nii.gz"], auto_reload=False)
    save(datastore, tmp_path, "a", disc(40, 50, 16, SIZE).T[..., None])
    return datastore


def save(datastore, folder, image, mask, value=1):
    path = folder.parent / "label.nii.gz"
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8) * value, np.eye(4)), path)
    info = {"label_info": [{"name": "disc", "idx": value}]}
    datastore.save_label(image, str(path), "final", info)


def label_of(datastore, image):
    return np.asarray(nibabel.load(datastore.get_label_uri(image, "original")).dataobj)


def overlap(mask, other):
    return 2 * (mask & other).sum() / (mask.sum() + other.sum())


def test_the_hosts_default_request_labels_what_nobody_has_labelled(task, store):
    result = task(HOST_DEFAULT, store)
    assert set(result) == {"b", "c"}
    assert {facts["source"] for facts in result.values()} == {"examples"}
    assert overlap(label_of(store, "b")[..., 0] == 1, disc(50, 50, 16, SIZE).T) > 0.8
    info = store.get_label_info("b", "original")
    assert info["label_info"] == [{"name": "disc", "idx": 1}]
    assert info["params"]["source"] == "examples"
    assert info["params"]["model_version"] == task._task.model.version
    assert set(store.get_unlabeled_images()) == {"b", "c"}, "nobody has looked at them yet"


def test_what_was_done_is_not_done_again(task, store):
    first = task({"images": "unlabeled", "max_batch_size": 1}, store)
    assert set(first) == {"b"}
    assert set(task({}, store)) == {"c"}
    assert task({}, store) == {}
    assert set(task({"redo": True}, store)) == {"b", "c"}


def test_a_new_version_does_them_again(task, store, monkeypatch):
    task({}, store)
    monkeypatch.setattr(batch, "done_before", lambda datastore, image, version: False)
    assert set(task({}, store)) == {"b", "c"}


def test_slices_between_labelled_ones_are_filled(task, tmp_path):
    write_image(tmp_path, "v", 50, 50, slices=4)
    store = LocalDatastore(str(tmp_path), extensions=["*.nii.gz"], auto_reload=False)
    mask = np.zeros((SIZE, SIZE, 4), dtype=bool)
    mask[:, :, 1] = disc(50, 50, 16, SIZE).T
    save(store, tmp_path, "v", mask)
    result = task({"images": "labeled"}, store)
    assert result["v"]["source"] == "neighbours"
    found = label_of(store, "v")
    assert not found[..., 1].any(), "a person's slice is left alone"
    assert overlap(found[..., 2] == 1, disc(50, 50, 16, SIZE).T) > 0.8


def test_where_nothing_is_labelled_it_shows_what_it_sees(task, tmp_path):
    write_image(tmp_path, "b", 50, 50)
    store = LocalDatastore(str(tmp_path), extensions=["*.nii.gz"], auto_reload=False)
    result = task({}, store)
    assert result["b"]["source"] == "proposals"
    assert result["b"]["voxels"]["object"] > 0


def test_an_image_that_cannot_be_read_costs_itself_only(task, store):
    Path(store.get_image_uri("b")).write_bytes(b"no image")
    result = task({}, store)
    assert "problem" in result["b"]
    assert result["c"]["source"] == "examples"


@pytest.mark.parametrize(
    "wrong",
    [
        {"images": "some"},
        {"images": 3},
        {"label_tag": "final"},
        {"max_batch_size": -1},
        {"max_batch_size": 1.5},
        {"max_batch_size": True},
        {"seconds": 0},
        {"seconds": "long"},
        {"redo": "yes"},
        {"colour": 1},
    ],
)
def test_a_wrong_request_is_a_sentence(task, store, wrong):
    with pytest.raises(RequestError, match=next(iter(wrong))):
        task(wrong, store)


def test_defaults():
    assert BatchSettings.parse({}) == BatchSettings()
    assert BatchSettings.parse(HOST_DEFAULT) == BatchSettings()

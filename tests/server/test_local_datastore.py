"""A folder's datastore when things go wrong: nothing that was saved is lost."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path

import nibabel
import numpy as np
import pytest

from lib.server import local_datastore
from lib.server.local_datastore import KEPT, SafeLocalDatastore
from lib.server.standing import Standing

IMAGE = "my case"


def write(path: Path, value: int) -> Path:
    nibabel.save(nibabel.Nifti1Image(np.full((4, 5, 3), value, np.uint8), np.eye(4)), path)
    return path


def values(path: str | Path) -> set[int]:
    return set(np.unique(np.asarray(nibabel.load(path).dataobj)).tolist())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    write(tmp_path / "images" / f"{IMAGE}.nii.gz", 7)
    return tmp_path / "images"


def opened(folder: Path) -> SafeLocalDatastore:
    return SafeLocalDatastore(str(folder), extensions=["*.nii.gz", "*.nrrd"])


def save(store: SafeLocalDatastore, value: int, folder: Path, **info: str) -> None:
    store.save_label(IMAGE, str(write(folder.parent / "l.nii.gz", value)), "final", info)


def test_what_was_saved_is_there_after_a_restart(folder: Path) -> None:
    save(opened(folder), 1, folder, user="anna")
    again = opened(folder)
    assert values(again.get_label_uri(IMAGE, "final")) == {1}
    standing = again.standing(IMAGE)
    assert standing is not None
    assert (standing.user, bool(standing.revision), standing.saved[:2]) == ("anna", True, "20")


def test_a_disk_that_is_full_leaves_the_label_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(folder)
    save(store, 1, folder)
    before = store.standing(IMAGE)

    def half(source: Path, target: Path) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(local_datastore.shutil, "copyfile", half)
    with pytest.raises(OSError, match="No space"):
        save(store, 2, folder)
    monkeypatch.undo()
    assert store.standing(IMAGE) == before
    assert values(opened(folder).get_label_uri(IMAGE, "final")) == {1}
    assert not list(folder.rglob(".part-*"))


def test_a_disk_without_room_for_the_list_leaves_the_label_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(folder)
    save(store, 1, folder, user="anna")
    before = store.standing(IMAGE)

    def full(path: Path, text: str, encoding: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space"):
            save(store, 2, folder, user="ben")
    assert store.standing(IMAGE) == before
    assert opened(folder).get_label_info(IMAGE, "final")["user"] == "anna"
    assert values(store.get_label_uri(IMAGE, "final")) == {1}
    assert not list(folder.rglob(".part-*"))


@pytest.mark.parametrize("text", ["", "{", '{"name": 1, "objects": []}', "\x00" * 100])
def test_a_damaged_list_is_set_aside_and_made_again(
    folder: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(opened(folder), 1, folder)
    path = folder / "datastore_v2.json"
    path.write_text(text)
    with caplog.at_level(logging.ERROR):
        store = opened(folder)
    assert store.list_images() == [IMAGE]
    assert values(store.get_label_uri(IMAGE, "final")) == {1}
    (aside,) = folder.glob("datastore_v2-damaged-*")
    assert aside.read_text() == text
    assert aside.name in caplog.text


def test_as_many_replaced_labels_are_kept_as_said(folder: Path) -> None:
    store = opened(folder)
    for value in range(KEPT + 5):
        save(store, value, folder)
    kept = sorted((folder / "labels" / "replaced" / IMAGE).iterdir())
    assert [values(path) for path in kept] == [{value} for value in range(4, KEPT + 4)]
    store.refresh()
    assert store.get_labels_by_image_id(IMAGE) == {"final": IMAGE}


def test_where_files_have_one_name_only_a_copy_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(folder)
    save(store, 1, folder)

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(local_datastore.os, "link", refuse)
    save(store, 2, folder)
    (kept,) = (folder / "labels" / "replaced" / IMAGE).iterdir()
    assert (values(kept), values(store.get_label_uri(IMAGE, "final"))) == ({1}, {2})


def test_a_label_that_was_removed_by_hand_is_none(folder: Path) -> None:
    store = opened(folder)
    save(store, 1, folder)
    Path(store.get_label_uri(IMAGE, "final")).unlink()
    assert store.standing(IMAGE) == Standing()
    save(store, 2, folder)
    assert values(store.get_label_uri(IMAGE, "final")) == {2}


def test_another_kind_of_file_takes_the_place_of_the_first(folder: Path) -> None:
    store = opened(folder)
    save(store, 1, folder)
    other = folder.parent / "l.nrrd"
    shutil.copy(folder / f"{IMAGE}.nii.gz", other)
    store.save_label(IMAGE, str(other), "final", {})
    assert [path.name for path in (folder / "labels" / "final").iterdir()] == [f"{IMAGE}.nrrd"]


def test_images_and_labels_come_while_the_folder_is_looked_through(folder: Path) -> None:
    """Whoever takes the locks in another order stands still here."""
    store = opened(folder)
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            store.refresh()

    def add() -> None:
        for number in range(30):
            store.add_image(f"new{number}", str(write(folder.parent / "n.nii.gz", 1)), {})
            save(store, number, folder)

    looking, adding = threading.Thread(target=look, daemon=True), threading.Thread(target=add)
    adding.daemon = True
    looking.start()
    adding.start()
    adding.join(60)
    ended.set()
    looking.join(60)
    assert not adding.is_alive()
    assert not looking.is_alive()
    assert set(opened(folder).list_images()) == {IMAGE, *(f"new{number}" for number in range(30))}

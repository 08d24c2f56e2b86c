"""Scores in memory and on disk."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from lib.learning.score_store import DAMAGED, VERSIONS, ScoreStore
from tests.learning.rows import row


def filled(folder: Path | None, *images: str, model: str = "net-1") -> ScoreStore:
    store = ScoreStore(folder)
    for number, image in enumerate(images):
        store.put(image, [row(image, k, 0.1 * number, k, model) for k in (3, 7)])
    return store


def file_of(folder: Path, model: str = "net-1") -> Path:
    return folder / f"{model}.npz"


def test_a_table_holds_all_and_is_the_same_until_something_changes() -> None:
    store = filled(None, "a", "b")
    table = store.table()
    assert [(r.image, r.k) for r in table.rows] == [("a", 3), ("a", 7), ("b", 3), ("b", 7)]
    assert store.table() is table
    store.put("a", [row("a", 5)])
    assert [(r.image, r.k) for r in store.table().rows] == [("a", 5), ("b", 3), ("b", 7)]
    store.forget("b")
    store.forget("unknown")
    assert store.table().images == {"a"}
    assert store.get("b") == ()
    store.put("c", [row("c")])
    store.retain(["c", "z"])
    assert store.table().images == {"c"}


def test_scores_come_back_from_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "scores"
    store = filled(folder, "a", "ö 1.2.3/x")
    store.put("l", [row("l", 2, float("nan"), 1.0, "net-0", labelled=True)])
    store.save("net-1")
    again = ScoreStore(folder)
    again.load("net-1")
    assert again.table().images == {"a", "ö 1.2.3/x", "l"}
    for image in again.table().images:
        for old, new in zip(store.get(image), again.get(image), strict=True):
            assert np.array_equal(old.features, new.features)
            assert (old.k, old.model_version) == (new.k, new.model_version)
            assert (old.encoder_version, old.labelled) == (new.encoder_version, new.labelled)
            assert new.uncertainty == pytest.approx(old.uncertainty, nan_ok=True)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in folder.iterdir()] == ["net-1.npz"]


def test_a_new_version_begins_with_what_the_one_before_it_said(tmp_path: Path) -> None:
    store = filled(tmp_path, "a", "b")
    store.save("net-1")
    store.load("net-2")
    assert {r.model_version for r in store.table().rows} == {"net-1"}
    store.put("a", [row("a", model="net-2")])
    store.save("net-2")
    fresh = ScoreStore(tmp_path)
    fresh.load("net-2")
    assert [r.model_version for r in fresh.get("a")] == ["net-2"]
    assert [r.model_version for r in fresh.get("b")] == ["net-1", "net-1"]
    fresh.load("net-1")  # taken back: its own scores are there at once
    assert [r.model_version for r in fresh.get("a")] == ["net-1", "net-1"]


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "empty", "other"])
def test_a_damaged_file_is_set_aside(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path, "a", "b").save("net-1")
    path = file_of(tmp_path)
    data = path.read_bytes()
    middle = data.index(row("a", angle=3).features.tobytes())
    contents = {
        "cut": data[: len(data) // 2],
        "flip": data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :],
        "text": b"nothing of ours",
        "empty": b"",
        "other": _other_archive(tmp_path),
    }
    path.write_bytes(contents[damage])
    store = ScoreStore(tmp_path)
    with caplog.at_level(logging.WARNING):
        store.load("net-1")
    assert len(store.table()) == 0
    assert "damaged" in caplog.text
    assert path.with_name(path.name + DAMAGED).is_file()
    filled(tmp_path, "a").save("net-1")
    store.load("net-1")
    assert store.table().images == {"a"}


def _other_archive(folder: Path) -> bytes:
    path = folder / "other.bin"
    with path.open("wb") as file:
        np.savez(file, image=np.array(["a"]))
    return path.read_bytes()


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    with file_of(tmp_path).open("wb") as file:
        np.savez(file, image=np.array([{"a": 1}], dtype=object))
    store = ScoreStore(tmp_path)
    store.load("net-1")
    assert len(store.table()) == 0


def test_what_did_not_change_is_not_written(tmp_path: Path) -> None:
    store = filled(tmp_path, "a")
    store.save("net-1")
    file_of(tmp_path).unlink()
    store.save("net-1")
    assert not file_of(tmp_path).exists()


def test_only_the_newest_versions_are_kept(tmp_path: Path) -> None:
    for number in range(VERSIONS + 2):
        model = f"net-{number}"
        filled(tmp_path, "a", model=model).save(model)
        os.utime(file_of(tmp_path, model), (number, number))
    filled(tmp_path, "a", model="last").save("last")
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == VERSIONS
    assert "last.npz" in names
    assert "net-0.npz" not in names


def test_a_disk_that_refuses_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = tmp_path / "file"
    place.write_text("in the way")
    store = filled(place / "scores", "a")
    with caplog.at_level(logging.WARNING):
        store.save("net-1")
    assert "cannot be kept" in caplog.text
    assert store.table().images == {"a"}


def test_the_name_of_a_version_stays_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "scores"
    filled(folder, "a", model="../../x").save("../../x")
    assert [p.parent for p in tmp_path.rglob("*.npz")] == [folder]

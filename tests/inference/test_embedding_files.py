"""Embeddings on disk."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import tempfile
import threading
import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from lib.inference.decoder import Embedding
from lib.inference.embedding_files import PART_SECONDS, SUFFIX, EmbeddingFiles

SIZE = 1 << 10


def embedding(seed: int) -> Embedding:
    generator = torch.Generator().manual_seed(seed)
    return Embedding(torch.randn(1, 4, 8, 8, generator=generator), 30, 40)


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*/*{SUFFIX}"))


def test_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "embeddings"
    EmbeddingFiles(folder, 1 << 20).write("../../key with / and \x00", embedding(1))
    (file,) = files_of(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for made in (file.parent, folder, folder.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert "key" not in file.name


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text", "foreign"])
def test_what_cannot_be_used_is_removed(tmp_path: Path, damage: str) -> None:
    files = EmbeddingFiles(tmp_path, 1 << 20)
    files.write("a", embedding(1))
    (file,) = files_of(tmp_path)
    content = bytearray(file.read_bytes())
    if damage == "foreign":
        other = EmbeddingFiles(tmp_path / "other", 1 << 20)
        other.write("b", embedding(2))
        (stranger,) = files_of(tmp_path / "other")
        content = bytearray(stranger.read_bytes())
    elif damage == "flip":
        content[-5] ^= 1
    else:
        content = {"cut": content[:-9], "empty": bytearray(), "text": bytearray(b"hello")}[damage]
    file.write_bytes(content)
    assert files.read("a") is None
    assert not file.exists()
    files.write("a", embedding(1))
    found = files.read("a")
    assert found is not None
    assert torch.equal(found.tensor, embedding(1).tensor)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_changed_bit_is_noticed(tmp_path: Path, data: st.DataObject) -> None:
    files = EmbeddingFiles(tmp_path, 1 << 20)
    files.write("a", embedding(1))
    (file,) = files_of(tmp_path)
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    found = files.read("a")
    if found is not None:  # a letter of the file that means nothing
        assert torch.equal(found.tensor, embedding(1).tensor)
        assert found.tensor.dtype == torch.float32
        assert (found.height, found.width) == (30, 40)


@pytest.mark.parametrize(
    "change", [(b'"height":"30"', b'"height":"38"'), (b"[1,4,8,8]", b"[1,8,4,8]")]
)
def test_the_size_of_the_image_and_the_shape_are_checked(
    tmp_path: Path, change: tuple[bytes, bytes]
) -> None:
    files = EmbeddingFiles(tmp_path, 1 << 20)
    files.write("a", embedding(1))
    (file,) = files_of(tmp_path)
    assert change[0] in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(*change))
    assert files.read("a") is None
    assert not file.exists()


def test_numbers_of_another_kind_are_removed(tmp_path: Path) -> None:
    files = EmbeddingFiles(tmp_path, 1 << 20)
    files.write("a", embedding(1))
    (file,) = files_of(tmp_path)
    facts = {"key": "a", "height": "30", "width": "40", "sha256": "0"}
    file.write_bytes(save({"embedding": embedding(1).tensor.bfloat16()}, facts))
    assert files.read("a") is None
    assert not file.exists()


def test_what_happens_to_a_file_after_reading_does_not_matter(tmp_path: Path) -> None:
    files = EmbeddingFiles(tmp_path, 1 << 20)
    files.write("a", embedding(1))
    found = files.read("a")
    (file,) = files_of(tmp_path)
    with file.open("r+b") as there:
        there.seek(-8, os.SEEK_END)
        there.write(b"\x00" * 8)
    assert found is not None
    assert torch.equal(found.tensor, embedding(1).tensor)


def test_a_folder_that_may_only_be_read_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    EmbeddingFiles(tmp_path, 1 << 20).write("a", embedding(1))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    files = EmbeddingFiles(tmp_path, 1 << 20)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            files.write("b", embedding(2))
            found = files.read("a")
            assert found is not None
            assert torch.equal(found.tensor, embedding(1).tensor)
    assert len(caplog.records) == 1


def test_a_file_that_cannot_be_read_now_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files = EmbeddingFiles(tmp_path, 1 << 20)
    files.write("a", embedding(1))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr("lib.inference.embedding_files.safe_open", refuse)
        assert files.read("a") is None
        assert files.read("a") is None
    assert len(caplog.records) == 1
    assert files.read("a") is not None


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    EmbeddingFiles(tmp_path, 1 << 20).write("a", embedding(1))
    folder = files_of(tmp_path)[0].parent
    old, new = folder / ".part-old", folder / ".part-new"
    for path, age in ((old, PART_SECONDS + 60), (new, 60)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    EmbeddingFiles(tmp_path, 1 << 20).write("b", embedding(2))
    assert (old.exists(), new.exists()) == (False, True)


def test_a_folder_that_is_removed_is_made_again(tmp_path: Path) -> None:
    files = EmbeddingFiles(tmp_path / "embeddings", 1 << 20)
    files.write("a", embedding(1))
    shutil.rmtree(tmp_path / "embeddings")
    assert files.read("a") is None
    files.write("b", embedding(2))
    assert files.contains("b")


def test_one_larger_than_the_bound_is_not_written_and_costs_nobody_else(tmp_path: Path) -> None:
    files = EmbeddingFiles(tmp_path, 3 * SIZE)
    files.write("a", embedding(1))
    files.write("large", Embedding(torch.zeros(1, 16, 8, 8), 30, 40))
    assert files.contains("a")
    assert not files.contains("large")


def test_two_processes_exceed_the_bound_by_a_sixteenth_at_most(tmp_path: Path) -> None:
    bound = 64 * SIZE
    pair = [EmbeddingFiles(tmp_path, bound) for _ in range(2)]
    for number in range(160):
        pair[number % 2].write(str(number), embedding(number))
        assert sum(path.stat().st_size for path in files_of(tmp_path)) <= bound + bound // 16


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    files = EmbeddingFiles(tmp_path, 8 * SIZE)
    for number in range(4):
        files.write(str(number), embedding(number))
        (newest,) = (path for path in files_of(tmp_path) if path.stat().st_mtime > 1e9)
        os.utime(newest, (number, number))
    assert files.read("0") is not None  # used now
    for number in range(4, 20):
        files.write(str(number), embedding(number))
        assert sum(path.stat().st_size for path in files_of(tmp_path)) <= 8 * SIZE
    assert not files.contains("1")
    assert files.contains("19")


def test_files_of_an_earlier_process_count(tmp_path: Path) -> None:
    first = EmbeddingFiles(tmp_path, 6 * SIZE)
    for number in range(3):
        first.write(str(number), embedding(number))
    second = EmbeddingFiles(tmp_path, 6 * SIZE)
    for number in range(3, 12):
        second.write(str(number), embedding(number))
    assert sum(path.stat().st_size for path in files_of(tmp_path)) <= 6 * SIZE


def test_two_writers_of_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    pair = [EmbeddingFiles(tmp_path, 12 * SIZE) for _ in range(2)]

    def work(files: EmbeddingFiles) -> None:
        for number in range(60):
            files.write(str(number % 20), embedding(number % 20))
            found = files.read(str((number * 7) % 20))
            if found is not None:
                assert torch.equal(found.tensor, embedding((number * 7) % 20).tensor)

    threads = [threading.Thread(target=work, args=(files,)) for files in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for path in files_of(tmp_path):
        assert path.stat().st_size > SIZE
    assert not list(tmp_path.glob("*/.part-*"))


def test_a_disk_that_refuses_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    files = EmbeddingFiles(tmp_path / "file", 1 << 20)
    with caplog.at_level(logging.WARNING):
        files.write("a", embedding(1))
        files.write("b", embedding(2))
    assert files.read("a") is None
    assert not files.contains("a")
    assert len([r for r in caplog.records if "no longer kept" in r.message]) == 1

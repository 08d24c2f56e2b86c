"""Embeddings on disk."""

from __future__ import annotations

import logging
import os
import stat
import threading
from pathlib import Path

import pytest
import torch

from lib.inference.decoder import Embedding
from lib.inference.embedding_files import SUFFIX, EmbeddingFiles

SIZE = 1 << 10


def embedding(seed: int) -> Embedding:
    generator = torch.Generator().manual_seed(seed)
    return Embedding(torch.randn(1, 4, 8, 8, generator=generator), 30, 40)


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*/*{SUFFIX}"))


def test_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    EmbeddingFiles(tmp_path / "new", 1 << 20).write("../../key with / and \x00", embedding(1))
    (file,) = files_of(tmp_path / "new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
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


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    files = EmbeddingFiles(tmp_path, 8 * SIZE)
    for number in range(4):
        files.write(str(number), embedding(number))
        (newest,) = (
            set(files_of(tmp_path))
            - set(files_of(tmp_path)[:0])
            - {path for path in files_of(tmp_path) if path.stat().st_mtime < 1e9}
        )
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

"""Embeddings in memory over embeddings on disk."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from lib.inference import embedding_store
from lib.inference.decoder import Embedding
from lib.inference.embedding_store import EmbeddingStore

KIB = 1 << 10


def embedding(seed: int) -> Embedding:
    """One KiB of numbers."""
    generator = torch.Generator().manual_seed(seed)
    return Embedding(torch.randn(1, 4, 8, 8, generator=generator), 30, 40)


def test_a_restart_finds_the_very_same_numbers(tmp_path: Path) -> None:
    before = EmbeddingStore(100 * KIB, tmp_path, 100 * KIB)
    before.put("version/torch fp32/abc", embedding(1))
    before.flush()
    after = EmbeddingStore(100 * KIB, tmp_path, 100 * KIB)
    assert after.contains("version/torch fp32/abc")
    assert len(after) == 0
    found = after.get("version/torch fp32/abc", torch.device("cpu"))
    assert found is not None
    assert torch.equal(found.tensor, embedding(1).tensor)
    assert (found.height, found.width) == (30, 40)
    assert len(after) == 1
    assert after.get("version/torch bf16/abc") is None
    assert not after.contains("version/torch bf16/abc")


def test_what_memory_forgot_is_on_disk(tmp_path: Path) -> None:
    store = EmbeddingStore(2 * KIB, tmp_path, 100 * KIB)
    for number in range(5):
        store.put(str(number), embedding(number))
    store.flush()
    assert len(store) == 2
    for number in range(5):
        found = store.get(str(number))
        assert found is not None
        assert torch.equal(found.tensor, embedding(number).tensor)


def test_without_a_folder_memory_is_all() -> None:
    store = EmbeddingStore(2 * KIB)
    for number in range(3):
        store.put(str(number), embedding(number))
    store.flush()
    assert store.get("0") is None
    assert not store.contains("0")
    assert store.contains("2")
    assert store.max_bytes == 2 * KIB


def test_a_disk_that_refuses_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    store = EmbeddingStore(2 * KIB, tmp_path / "file", 100 * KIB)
    assert (store.max_bytes, store.disk_bytes) == (100 * KIB, 100 * KIB)
    store.put("a", embedding(1))
    store.flush()
    assert (store.max_bytes, store.disk_bytes) == (2 * KIB, 0)
    assert store.contains("a")


def test_an_embedding_that_cannot_be_written_does_not_stop_the_writer(tmp_path: Path) -> None:
    store = EmbeddingStore(100 * KIB, tmp_path, 100 * KIB)
    # Without numbers: as where a device fails while they are fetched from it.
    store.put("broken", Embedding(torch.zeros(1, 4, 8, 8, device="meta"), 30, 40))
    store.put("a", embedding(1))
    flushed = threading.Thread(target=store.flush, daemon=True)
    flushed.start()
    flushed.join(20)
    assert not flushed.is_alive()
    assert EmbeddingStore(100 * KIB, tmp_path, 100 * KIB).contains("a")


def test_nobody_waits_for_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_store, "WAITING", 2)
    store = EmbeddingStore(100 * KIB, tmp_path, 100 * KIB)
    go_on = threading.Event()
    assert store._files is not None
    write = store._files.write

    def slow(key: str, value: Embedding) -> None:
        assert go_on.wait(20)
        write(key, value)

    monkeypatch.setattr(store._files, "write", slow)
    for number in range(10):
        store.put(str(number), embedding(number))
    assert len(store) == 10
    go_on.set()
    store.flush()
    on_disk = sum(store._files.contains(str(number)) for number in range(10))
    assert 2 <= on_disk <= 3

"""Slices that are encoded while nobody waits."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from lib.imaging.volume import Volume
from lib.inference.ahead import EncodeAhead, views_of, volume_order
from lib.inference.embedder import SliceEmbedder
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.view import SliceView
from lib.inference.worker import Priority, PriorityWorker
from tests.support import golden

NBYTES = 4 * 32 * 16 * 16


class Recorder:
    """An encoder that notes the order of its images; ``go`` lets it work."""

    backend_name = "recorder"

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.begun = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        self.begun.set()
        assert self.go.wait(20)
        # The corner of the picture says which one it is.
        self.seen.append(round(float(images[0, 0, 0, 0]) * 58.395 + 123.675))
        return torch.zeros(1, 32, 16, 16)


def view(k: int) -> SliceView:
    picture = np.zeros((256, 256, 3), np.uint8)
    picture[:16, :16] = k
    return SliceView(picture)


class Setup:
    def __init__(self, memory: int = 1 << 24, **settings: object) -> None:
        self.encoder = Recorder()
        model = golden.tiny_model()
        self.embedder = SliceEmbedder(model, self.encoder, EmbeddingStore(memory), "v1")
        self.worker = PriorityWorker()
        self.ahead = EncodeAhead(self.embedder, self.worker, **settings)

    def wait(self) -> None:
        deadline = time.monotonic() + 20
        while any(p.active for p in self.ahead.progress()):
            assert time.monotonic() < deadline
            time.sleep(0.005)


@pytest.fixture
def setup() -> Iterator[Setup]:
    made = Setup()
    yield made
    made.encoder.go.set()
    made.ahead.close()


def test_from_the_click_outward(setup: Setup) -> None:
    assert volume_order(2, 6) == [2, 3, 1, 4, 0, 5]
    first = setup.ahead.want("a", 6, 2, view)
    assert (first.done, first.total, first.active) == (0, 6, True)
    setup.wait()
    assert setup.encoder.seen == [2, 3, 1, 4, 0, 5]
    (progress,) = setup.ahead.progress()
    assert (progress.name, progress.done, progress.total) == ("a", 6, 6)
    again = setup.ahead.want("a", 6, 5, view)
    assert again.done == 6
    setup.wait()
    assert len(setup.encoder.seen) == 6


def test_what_is_known_is_not_encoded_again(setup: Setup) -> None:
    for k in (1, 3):
        setup.worker.run(Priority.CLICK, lambda k=k: setup.embedder.embed(view(k)))
    setup.ahead.want("a", 5, 0, view)
    setup.wait()
    assert setup.encoder.seen == [1, 3, 0, 2, 4]


def test_a_click_elsewhere_changes_the_order_and_goes_first(setup: Setup) -> None:
    setup.encoder.go.clear()
    setup.ahead.want("a", 9, 0, view)
    while setup.worker._waiting.qsize() or not setup.ahead.progress():
        time.sleep(0.005)
    setup.ahead.want("a", 9, 7, view)
    click = setup.worker.submit(Priority.CLICK, lambda: setup.embedder.embed(view(4)))
    setup.encoder.go.set()
    click.result(20)
    setup.wait()
    assert setup.encoder.seen[:4] in ([0, 4, 7, 8], [4, 7, 8, 6])
    assert sorted(setup.encoder.seen) == list(range(9))


def test_the_last_volume_goes_first_and_the_oldest_is_given_up(setup: Setup) -> None:
    setup.encoder.go.clear()
    for number in range(6):
        setup.ahead.want(str(number), 3, 0, lambda k, n=number: view(10 * n + k))
    assert [p.name for p in setup.ahead.progress()] == ["5", "4", "3", "2"]
    setup.encoder.go.set()
    setup.wait()
    seen = setup.encoder.seen
    assert seen[-9:] == [40, 41, 42, 30, 31, 32, 20, 21, 22]
    setup.ahead.forget("3")
    assert [p.name for p in setup.ahead.progress()] == ["5", "4", "2"]


def test_a_volume_nobody_looks_at_is_dropped() -> None:
    setup = Setup(idle_seconds=0.0, ready=lambda: True)
    setup.ahead.want("a", 50, 0, view)
    setup.wait()
    assert len(setup.encoder.seen) < 50
    setup.ahead.close()


def test_nothing_is_done_before_it_is_ready() -> None:
    ready = threading.Event()
    setup = Setup(ready=ready.is_set)
    setup.ahead.want("a", 3, 0, view)
    time.sleep(0.05)
    assert setup.encoder.seen == []
    ready.set()
    setup.wait()
    assert setup.encoder.seen == [0, 1, 2]
    setup.ahead.close()


def test_a_volume_larger_than_the_cache_is_encoded_in_part() -> None:
    setup = Setup(memory=8 * NBYTES)
    first = setup.ahead.want("a", 100, 50, view)
    assert (first.done, first.total) == (0, 4)
    setup.wait()
    assert sorted(setup.encoder.seen) == [49, 50, 51, 52]
    assert len(setup.embedder.store) == 4
    (progress,) = setup.ahead.progress()
    assert (progress.done, progress.total) == (4, 4)
    # Whoever goes on elsewhere finds the slices there encoded, too, and nothing is done twice.
    setup.ahead.want("a", 100, 52, view)
    setup.wait()
    assert sorted(setup.encoder.seen) == [49, 50, 51, 52, 53, 54]
    setup.ahead.close()


def test_an_error_ends_its_volume_only(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    def broken(k: int) -> SliceView:
        raise OSError("gone")

    with caplog.at_level(logging.ERROR):
        setup.ahead.want("bad", 3, 0, broken)
        setup.ahead.want("good", 3, 0, view)
        setup.wait()
        # Nor is it tried, and logged, again.
        assert not setup.ahead.want("bad", 3, 1, broken).active
        setup.wait()
    assert {p.name: p.done for p in setup.ahead.progress()} == {"good": 3, "bad": 0}
    assert sorted(setup.encoder.seen) == [0, 1, 2]
    assert len(caplog.records) == 1


def test_a_volume_that_nobody_else_keeps_is_given_up(setup: Setup) -> None:
    volume = Volume(np.zeros((4, 4, 9), np.int16), np.eye(4))
    held = weakref.ref(volume)
    setup.encoder.go.clear()
    setup.ahead.want("a", 9, 0, views_of(volume, lambda there, k: view(k + 0 * there.n_slices)))
    del volume
    setup.encoder.go.set()
    setup.wait()
    gc.collect()
    assert held() is None
    assert len(setup.encoder.seen) <= 1
    assert setup.ahead.progress() == ()


def test_what_was_given_up_is_not_held(setup: Setup) -> None:
    class Voxels:
        pass

    voxels = Voxels()
    held = weakref.ref(voxels)
    setup.encoder.go.clear()
    setup.ahead.want("a", 9, 0, lambda k, voxels=voxels: view(k))
    del voxels
    assert setup.encoder.begun.wait(20)
    setup.ahead.forget("a")
    setup.encoder.go.set()
    deadline = time.monotonic() + 20
    while held() is not None:  # the thread has yet to come back from its slice
        assert time.monotonic() < deadline
        gc.collect()
        time.sleep(0.005)

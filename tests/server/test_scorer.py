"""Scoring in the background."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.errors import UnavailableError
from lib.imaging.volume import ReadLimits, Volume
from lib.inference.worker import Priority, PriorityWorker
from lib.learning.score_store import ScoreStore
from lib.server import scorer as module
from lib.server.score_slices import labelled_slices, spread_slices
from lib.server.scorer import BACK_OFF_SECONDS, IDLE_SECONDS, TRIES, ScorePlan, Scorer
from tests.support.scored import SLICES, SmallNetwork, open_folder, save_label, write_images
from tests.support.waiting import wait_for

PLAN = ScorePlan(per_minute=1_000_000, slices=2, limits=ReadLimits())


class Setup:
    """A scorer whose steps a test takes itself."""

    def __init__(self, folder: Path, images: int = 3, plan: ScorePlan = PLAN) -> None:
        self.network = SmallNetwork(folder / "embeddings")
        self.images = write_images(folder / "images", images)
        self.datastore = open_folder(self.images)
        self.store = ScoreStore(folder / "scores")
        self.scorer = Scorer(self.network, lambda: self.datastore, self.store, plan)

    def steps(self, most: int = 20) -> int:
        """Work until there is nothing to do; how many images that took."""
        for count in range(most):
            if self.scorer._step() == IDLE_SECONDS:
                return count
        raise AssertionError(f"not done after {most} steps")


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    made = Setup(tmp_path)
    yield made
    made.scorer.close()
    made.network.worker.close()


def test_every_image_gets_scores_of_a_few_slices(setup: Setup) -> None:
    assert setup.steps() == 3
    rows = setup.store.table().rows
    assert sorted((r.image, r.k) for r in rows) == [
        (f"case{n}", k) for n in range(3) for k in (1, 5)
    ]
    for row in rows:
        assert 0 <= row.uncertainty <= 1
        assert np.linalg.norm(row.features) == pytest.approx(1)
        assert (row.model_version, row.encoder_version) == ("net-1", "enc-1")
    assert len({round(row.uncertainty, 6) for row in rows}) > 1
    assert setup.network.encoder.count == 6
    status = setup.scorer.status
    assert (status.scored, status.left, status.failed) == (3, 0, ())
    assert status.doing == "everything is scored"
    assert status.seconds_per_slice > 0
    assert setup.steps() == 0


def test_air_is_not_clicked_on(tmp_path: Path) -> None:
    setup = Setup(tmp_path, images=1)
    empty = np.zeros((40, 32, SLICES), np.int16)
    empty[:10, :8] = np.arange(10)[:, None, None]
    nib.save(nib.Nifti1Image(empty, np.eye(4)), setup.images / "case0.nii.gz")
    setup.steps()
    assert 0 < setup.network.decoder.count < 2 * 16


def test_scores_survive_a_restart(setup: Setup) -> None:
    setup.steps()
    setup.store.save("net-1")
    store = ScoreStore(setup.store._folder)
    again = Scorer(setup.network, lambda: setup.datastore, store, PLAN)
    assert again._step() == IDLE_SECONDS
    assert store.table().images == {"case0", "case1", "case2"}


def test_what_is_labelled_gives_features_of_its_labelled_slices(setup: Setup) -> None:
    setup.steps()
    save_label(setup.datastore, "case1", (3, 4))
    decoded = setup.network.decoder.count
    assert setup.steps() == 1
    rows = setup.store.get("case1")
    assert [(r.k, r.labelled) for r in rows] == [(3, True), (4, True)]
    assert all(np.isnan(r.uncertainty) for r in rows)
    assert setup.network.decoder.count == decoded
    assert setup.scorer.status.scored == 2
    # Saved again, with another slice: it is looked at again when somebody says so.
    save_label(setup.datastore, "case1", (6,))
    assert setup.steps() == 0
    setup.scorer.label_changed("case1")
    assert setup.steps() == 1
    assert [r.k for r in setup.store.get("case1")] == [6]


def test_a_pre_annotated_image_is_scored_as_unlabelled(setup: Setup) -> None:
    save_label(setup.datastore, "case0", (3,), tag="original")
    setup.steps()
    assert [r.labelled for r in setup.store.get("case0")] == [False, False]


def test_an_empty_label_counts_with_any_slices(setup: Setup) -> None:
    save_label(setup.datastore, "case0")
    setup.steps()
    assert [(r.k, r.labelled) for r in setup.store.get("case0")] == [(1, True), (5, True)]


def test_after_a_publication_all_is_scored_anew_from_the_same_embeddings(setup: Setup) -> None:
    save_label(setup.datastore, "case2", (3,))
    setup.steps()
    setup.network.embeddings.flush()
    before = {(r.image, r.k): r for r in setup.store.table().rows}
    setup.network.publish("net-2", "enc-1", seed=5)
    setup.scorer._step()
    # The old scores stand until new ones are there.
    versions = [r.model_version for r in setup.store.table().rows if not r.labelled]
    assert sorted(versions) == ["net-1"] * 2 + ["net-2"] * 2
    setup.steps()
    after = {(r.image, r.k): r for r in setup.store.table().rows}
    assert setup.network.encoder.count == 0
    for key, row in after.items():
        assert np.array_equal(row.features, before[key].features)
        if not row.labelled:
            assert row.model_version == "net-2"
            assert row.uncertainty != before[key].uncertainty


def test_another_encoder_makes_other_features(setup: Setup) -> None:
    save_label(setup.datastore, "case2", (3,))
    setup.steps()
    setup.network.publish("net-2", "enc-2", seed=5)
    setup.steps()
    assert {r.encoder_version for r in setup.store.table().rows} == {"enc-2"}
    assert setup.network.encoder.count == 5


def test_what_people_click_on_stays_in_memory(setup: Setup) -> None:
    setup.steps()
    assert len(setup.network.embeddings) == 0


def test_an_image_that_cannot_be_read_is_remembered(
    setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    (setup.images / "case1.nii.gz").write_bytes(b"nothing")
    with caplog.at_level(logging.WARNING):
        setup.steps()
        setup.steps()
    ((image, reason),) = setup.scorer.status.failed
    assert image == "case1"
    assert "case1.nii.gz" in reason
    assert caplog.text.count("case1 cannot be scored") == 1
    assert setup.store.table().images == {"case0", "case2"}


def test_an_error_of_our_own_does_not_end_the_scoring(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = module.score_image

    def wrong(segmenter, image, *others):  # type: ignore[no-untyped-def]
        if image == "case0":
            raise ZeroDivisionError("oh")
        return right(segmenter, image, *others)

    monkeypatch.setattr(module, "score_image", wrong)
    setup.steps()
    assert setup.scorer.status.failed == (("case0", "ZeroDivisionError('oh')"),)
    assert setup.store.table().images == {"case1", "case2"}


def test_a_pacs_that_is_down_is_asked_again_later(setup: Setup) -> None:
    class Down:
        def __getattr__(self, name: str) -> object:
            raise UnavailableError(got="no answer from the PACS")

    datastore, setup.datastore = setup.datastore, Down()  # type: ignore[assignment]
    assert setup.scorer._step() == BACK_OFF_SECONDS
    assert "no answer from the PACS" in setup.scorer.status.doing
    setup.datastore = datastore
    assert setup.steps() == 3
    assert setup.scorer.status.failed == ()


def test_a_series_the_pacs_does_not_hand_out_is_given_up(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = module.image_path

    def path(datastore, image):  # type: ignore[no-untyped-def]
        if image == "case2":
            raise UnavailableError(got="3 of 9 files")
        return right(datastore, image)

    monkeypatch.setattr(module, "image_path", path)
    setup.steps(10)
    assert setup.scorer._tries == {"case2": TRIES}
    assert [image for image, _ in setup.scorer.status.failed] == ["case2"]
    assert setup.store.table().images == {"case0", "case1"}


def test_images_that_are_gone_lose_their_scores(setup: Setup) -> None:
    setup.steps()
    setup.datastore._datastore.objects.pop("case0")
    setup.steps()
    assert setup.store.table().images == {"case1", "case2"}


def test_it_rests_as_long_as_it_works_and_as_the_budget_says(tmp_path: Path) -> None:
    slow = Setup(tmp_path / "a", 1, replace(PLAN, per_minute=2))
    assert 29 < slow.scorer._step() <= 30
    fast = Setup(tmp_path / "b", 1)
    started = time.monotonic()
    rest = fast.scorer._step()
    assert 0 < rest <= time.monotonic() - started


def test_it_waits_while_somebody_clicks(setup: Setup) -> None:
    worker = setup.network.worker
    worker.run(Priority.CLICK, lambda: None)
    assert worker.quiet_seconds() < module.QUIET_SECONDS
    stepping = threading.Thread(target=setup.scorer._step)
    stepping.start()
    clicked = time.monotonic()
    while setup.network.encoder.count == 0:
        assert time.monotonic() - clicked < 20
        time.sleep(0.01)
    # The worker says when it was clicked on; nothing was encoded before it was quiet.
    assert worker.quiet_seconds() >= module.QUIET_SECONDS
    stepping.join(20)


def test_scores_come_after_everything_else() -> None:
    worker, go, order = PriorityWorker(), threading.Event(), []
    running = worker.submit(Priority.CLICK, go.wait)
    while not running.running():
        time.sleep(0.001)
    futures = [
        worker.submit(p, lambda p=p: order.append(p))  # type: ignore[misc]
        for p in (Priority.SCORE, Priority.AHEAD, Priority.VOLUME, Priority.CLICK)
    ]
    go.set()
    for future in futures:
        future.result(20)
    assert order == [Priority.CLICK, Priority.VOLUME, Priority.AHEAD, Priority.SCORE]
    worker.close()


def test_background_work_is_no_click() -> None:
    worker = PriorityWorker()
    for priority in (Priority.SCORE, Priority.AHEAD):
        worker.run(priority, lambda: None)
        assert worker.quiet_seconds() == float("inf")
    worker.run(Priority.VOLUME, lambda: None)
    assert worker.quiet_seconds() < 20
    worker.close()


def test_the_thread_scores_saves_and_ends(setup: Setup) -> None:
    live, setup.network.loaded = setup.network.loaded, None
    setup.scorer.start()
    assert setup.scorer.status.doing == "waiting for the network"
    setup.network.loaded = live
    wait_for(lambda: setup.scorer.status.scored == 3)
    setup.scorer.close()
    assert not setup.scorer._thread.is_alive()
    again = ScoreStore(setup.store._folder)
    again.load("net-1")
    assert again.table().images == {"case0", "case1", "case2"}


def test_it_ends_in_the_middle_of_an_image(setup: Setup) -> None:
    setup.scorer.start()
    wait_for(lambda: setup.network.encoder.count > 0)
    setup.scorer.close()
    assert not setup.scorer._thread.is_alive()


def test_slices_are_spread_evenly() -> None:
    assert spread_slices(10, 5) == [1, 3, 5, 7, 9]
    assert spread_slices(100, 4) == [12, 37, 62, 87]
    assert spread_slices(2, 5) == [0, 1]
    assert spread_slices(1, 5) == [0]


def volume(array: np.ndarray) -> Volume:
    return Volume(array, np.eye(4))


def test_labelled_slices() -> None:
    image = volume(np.zeros((4, 3, 9), np.int16))
    labels = np.zeros((4, 3, 9), np.uint8)
    labels[1, 1, [2, 3, 4, 7]] = 2
    assert labelled_slices(volume(labels), image, 2) == [3, 7]
    assert labelled_slices(volume(labels), image, 9) == [2, 3, 4, 7]
    assert labelled_slices(volume(labels[:, :, :5]), image, 3) == [1, 4, 7]
    assert labelled_slices(None, image, 3) == [1, 4, 7]

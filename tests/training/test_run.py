"""Whole runs: learn, judge, publish, report, go on after an interruption."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.data.labelled_slices import LabelledSlices
from lib.data.pool import LabelledImage
from lib.errors import ImageError, TrainingError
from lib.networks import build_model, installed_weights
from lib.training import run as running
from lib.training.anchors import anchor_images
from lib.training.observers import LogObserver
from lib.training.progress import RunStats
from lib.training.registry import Registry
from lib.training.run import Outcome, TrainJob, train
from lib.training.settings import TrainSettings
from tests.support.small_sam import disc_cases, disc_image, save_base

pytestmark = pytest.mark.timeout(900)  # real trainings, on whatever machine

QUICK = {"train": "decoder", "max_epochs": 2, "epoch_steps": 2, "train_batch_size": 2}


class Notes:
    """Remembers what a run says; may interrupt it."""

    def __init__(self, interrupt: Callable[[RunStats], bool] = lambda _: False) -> None:
        self.lines: list[str] = []
        self.stats: list[RunStats] = []
        self._interrupt = interrupt

    def say(self, sentence: str) -> None:
        self.lines.append(sentence)

    def show(self, stats: RunStats) -> None:
        self.stats.append(stats)
        if self._interrupt(stats):
            raise KeyboardInterrupt

    def __contains__(self, text: str) -> bool:
        return any(text in line for line in self.lines)


@pytest.fixture(autouse=True)
def few_phantoms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two anchors judge as well as twenty-four where only the way is tested."""
    monkeypatch.setattr(running, "anchor_images", lambda: anchor_images(count=2))
    monkeypatch.setattr("lib.training.run_plan.STOCK_PHANTOMS", 2)
    monkeypatch.setattr("lib.training.run_plan.MAX_VARIANTS", 2)


def job(
    folder: Path, images: tuple[LabelledImage, ...] | None = None, **settings: object
) -> TrainJob:
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / "samed2d_t.safetensors"
    return TrainJob(
        architecture="samed2d_t",
        weights=base if base.is_file() else save_base(folder),
        registry=folder / "registry",
        data=LabelledSlices(disc_cases(4) if images is None else images),
        settings=TrainSettings.parse({**QUICK, **settings}),
    )


def registry_of(work: TrainJob) -> Registry:
    return Registry(work.registry, work.architecture, work.weights)


def carry_out(work: TrainJob, notes: Notes | None = None) -> Outcome:
    outcome = train(work, notes or Notes())
    assert outcome is not None
    return outcome


def test_a_run_publishes_reports_and_cleans_up(tmp_path: Path) -> None:
    work, notes = job(tmp_path, publish="force"), Notes()
    outcome = carry_out(work, notes)
    serving = registry_of(work).serving()
    assert outcome.version is not None and serving is not None
    assert serving.model_version == outcome.version.model_version
    assert serving.manifest.trained == "decoder" and serving.manifest.n_images == 3
    assert not serving.manifest.encoder_changed
    assert set(serving.manifest.metrics) == {"box", "1", "3", "5"}
    assert len(serving.manifest.seen) == 3
    assert (outcome.report / "report.html").is_file()
    assert (serving.folder / "report.html").is_file()
    run = registry_of(work).folder / "runs" / "train_01"
    assert not (run / "state.pt").exists()
    assert list((run / "events").iterdir()), "TensorBoard's events"
    assert "3 slices to learn from, 1 to judge by" in notes
    assert "epoch 2" in notes and "serves from now on" in notes
    assert [stats.phase for stats in notes.stats][-1] == "done"
    figures = notes.stats[-1].to_json()
    assert figures["epoch"] == figures["total_epochs"] == 2
    assert figures["model_version"] == serving.model_version and figures["total_time"]
    assert len(figures["history"]) == 3
    json.dumps(figures, allow_nan=False)


def test_medsa_learns_by_its_adapters_alone_over_the_weights_of_its_base(tmp_path: Path) -> None:
    work = job(tmp_path, train="only_adapters", publish="force", max_epochs=1)
    outcome = carry_out(replace(work, architecture="medsa_t"))
    version = outcome.version
    assert version is not None and version.model_version.startswith("medsa_t-")
    assert version.manifest.trained == "only_adapters" and version.manifest.encoder_changed
    changed = set(version.tensors())
    assert all("_Adapter." in name and "Depth" not in name for name in changed)
    assert {name.split(".")[0] for name in changed} == {"image_encoder", "mask_decoder"}


def test_a_version_builds_on_the_one_that_serves(tmp_path: Path) -> None:
    work = job(tmp_path, publish="force")
    first, second = carry_out(work).version, carry_out(work).version
    assert first is not None and second is not None
    assert second.manifest.parent == first.name
    assert set(first.manifest.seen) <= set(second.manifest.seen)


def test_what_is_not_wanted_is_not_published(tmp_path: Path) -> None:
    outcome = carry_out(job(tmp_path, publish="never"))
    assert outcome.version is None
    assert registry_of(job(tmp_path)).serving() is None


def test_a_run_that_learns_nothing_is_refused(tmp_path: Path) -> None:
    """A rate of nearly zero changes no answer."""
    notes = Notes()
    outcome = carry_out(job(tmp_path, learning_rate=1e-12), notes)
    assert outcome.version is None and not outcome.verdict.publish
    assert "goes on serving" in notes and "refused" in notes


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Several threads may add up in another order, and Adam makes much of little."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("part", ["decoder", "adapters"])
def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, part: str) -> None:
    # The learning rate follows the time that has passed as well; here the epochs alone shall count.
    settings = {"train": part, "max_epochs": 3, "max_minutes": 1e5, "publish": "force"}
    settings["adapter_init"] = "keep"
    interrupted = Notes(lambda stats: stats.epoch == 1 and stats.phase == "training")
    work = job(tmp_path, **settings)
    with pytest.raises(KeyboardInterrupt):
        train(work, interrupted)
    # The state is saved after the epoch's figures were shown, so at worst the epoch is repeated.
    again = Notes()
    outcome = carry_out(work, again)
    assert outcome.version is not None
    assert outcome.version.manifest.encoder_changed == (part == "adapters")
    straight = carry_out(job(tmp_path / "straight", **settings))
    assert straight.version is not None
    assert outcome.version.manifest.weights_sha256 == straight.version.manifest.weights_sha256


def test_a_saved_run_says_that_it_goes_on(tmp_path: Path) -> None:
    work = job(tmp_path, max_epochs=3)
    with pytest.raises(KeyboardInterrupt):
        train(work, Notes(lambda stats: stats.epoch == 2))
    notes = Notes()
    carry_out(work, notes)
    assert "going on after" in notes


def test_a_run_starts_anew_where_it_is_told_to(tmp_path: Path) -> None:
    work = job(tmp_path, max_epochs=3)
    with pytest.raises(KeyboardInterrupt):
        train(work, Notes(lambda stats: stats.epoch == 2))
    notes = Notes()
    carry_out(replace(work, settings=replace(work.settings, resume=False)), notes)
    assert "going on" not in notes


def test_new_labels_may_come_in_between(tmp_path: Path) -> None:
    """What was learned is kept; what was measured on other slices is not."""
    work = job(tmp_path, max_epochs=3)
    with pytest.raises(KeyboardInterrupt):
        train(work, Notes(lambda stats: stats.epoch == 2))
    more = replace(work, data=LabelledSlices(disc_cases(5)))
    notes = Notes()
    carry_out(more, notes)
    assert "going on after" in notes and "4 slices to learn from" in notes


def test_one_case_is_enough(tmp_path: Path) -> None:
    slices = tuple(disc_image(f"a#k{n:04d}", "a", n) for n in range(4))
    outcome = carry_out(job(tmp_path, slices, publish="force"))
    assert outcome.version is not None and outcome.after.n_targets >= 1
    alone = carry_out(job(tmp_path, slices[:1], publish="force"))
    assert alone.version is not None
    assert "nothing was held out" in alone.verdict.reason


def test_nothing_to_learn_from_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="save a label first"):
        train(job(tmp_path, ()), Notes())


def test_two_runs_of_one_name_exclude_each_other(tmp_path: Path) -> None:
    work = job(tmp_path)
    caught: list[str] = []

    def second(stats: RunStats) -> bool:
        if not caught:
            with pytest.raises(TrainingError, match="another process") as error:
                train(work, Notes())
            caught.append(error.value.message)
        return False

    carry_out(work, Notes(second))
    assert caught


def test_a_rollback_while_training_is_noticed(tmp_path: Path) -> None:
    """What is published must not be worse than what serves then, not at the start."""
    work = job(tmp_path, publish="force")
    carry_out(work)
    registry = registry_of(work)

    def roll_back(stats: RunStats) -> bool:
        if stats.phase == "judging" and stats.epoch == 2 and registry.serving() is not None:
            registry.roll_back("base")
        return False

    notes = Notes(roll_back)
    outcome = carry_out(work, notes)
    assert "another version serves by now" in notes
    assert outcome.version is not None and outcome.version.manifest.parent is None


def test_published_adapters_and_neutral_ones(tmp_path: Path) -> None:
    for init in ("neutral", "published"):
        folder = tmp_path / init
        folder.mkdir()
        work = job(folder, train="adapters", adapter_init=init, publish="force", max_epochs=1)
        outcome = carry_out(work)
        assert outcome.version is not None and outcome.version.manifest.encoder_changed


def test_a_run_in_the_paper_recipe(tmp_path: Path) -> None:
    work = job(tmp_path, recipe="paper", train="adapters", publish="force", max_epochs=1)
    outcome = carry_out(work)
    assert outcome.version is not None and outcome.version.manifest.recipe == "paper"


def test_mlflow_writes_to_a_sqlite_file(tmp_path: Path) -> None:
    work = job(tmp_path, tracking="mlflow", max_epochs=1)
    carry_out(work)
    assert (registry_of(work).folder / "runs" / "train_01" / "mlflow.db").stat().st_size > 0


def test_embeddings_are_remembered_across_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = running.TorchEncoder.encode

    def counted(self: running.TorchEncoder, images: object) -> object:
        encoded.append(1)
        return encode(self, images)  # type: ignore[arg-type]

    monkeypatch.setattr(running.TorchEncoder, "encode", counted)
    work = replace(job(tmp_path, publish="never"), cache=tmp_path / "cache")
    carry_out(work)
    first = len(encoded)
    encoded.clear()
    carry_out(work)
    assert len(encoded) < first


def test_the_base_file_is_never_touched(tmp_path: Path) -> None:
    work = job(tmp_path, publish="force")
    before = work.weights.read_bytes()
    carry_out(work)
    assert work.weights.read_bytes() == before


def test_figures_are_written_for_the_server(tmp_path: Path) -> None:
    path = tmp_path / "stats" / "train_stats.json"
    train(job(tmp_path), LogObserver(path))
    figures = json.loads(path.read_text())
    assert figures["phase"] == "done" and 0 <= figures["best_metric"] <= 1


def test_small_networks_learn_discs(tmp_path: Path) -> None:
    """The figures that are shown really rise, and the gate lets it through."""
    work = job(tmp_path, disc_cases(8), max_epochs=3, epoch_steps=24, train_batch_size=4)
    outcome = carry_out(work)
    before, after = (
        np.mean(list(outcome.before.dice.values())),
        np.mean(list(outcome.after.dice.values())),
    )
    assert after > before + 0.05
    assert outcome.version is not None, outcome.verdict.reason
    model = build_model("samed2d_t", work.weights)
    assert not model.training


def test_labels_of_other_images_are_refused(tmp_path: Path) -> None:
    """Poisoned: each image got the mask of the next. The serving version stays."""
    cases = disc_cases(8)
    shuffled = tuple(
        replace(image, masks=other.masks)
        for image, other in zip(cases, (*cases[1:], cases[0]), strict=True)
    )
    weights = installed_weights("samed2d_t")
    assert weights is not None
    work = replace(job(tmp_path, shuffled, epoch_steps=8, train_batch_size=4), weights=weights)
    carry_out(replace(work, settings=replace(work.settings, publish="force", max_epochs=1)))
    serving = registry_of(work).serving()
    notes = Notes()
    outcome = carry_out(work, notes)
    assert outcome.version is None and not outcome.verdict.publish
    assert registry_of(work).serving() == serving
    assert "labels do not seem to belong to their images" in notes


def test_an_epoch_without_its_figures_is_not_left_out(tmp_path: Path) -> None:
    """Where saving costs nothing, every batch is saved, but not the last one of an epoch alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lib.training.handlers.SAVING_SHARE", 1e9)
        work = job(tmp_path, max_minutes=1e5)
        with pytest.raises(KeyboardInterrupt):
            train(work, Notes(lambda stats: stats.epoch == 1 and stats.phase == "training"))
        outcome = carry_out(work)
    assert [record.epoch for record in outcome.stats.history] == [0, 1, 2]

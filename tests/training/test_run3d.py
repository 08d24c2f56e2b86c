"""From labelled volumes to a published version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lib.data.split import unit_id
from lib.data.windows3d import LabelledVolume
from lib.errors import ImageError
from lib.networks.checkpoint import load_checkpoint, save_weights
from lib.networks.sam3d import Sam3d, build_sam3d
from lib.training import run3d
from lib.training.registry import Registry, apply_version
from lib.training.run3d import VolumeJob, VolumeOutcome, train_volumes
from lib.training.settings import TrainSettings
from tests.support.small_sam3d import SMALL3D

SETTINGS = {
    "max_epochs": 2,
    "epoch_steps": 6,
    "train_batch_size": 1,
    "learning_rate": 0.005,
    "max_minutes": 10,
    "precision": "fp32",
}


class Notes:
    """Remembers what it is told; can interrupt a run."""

    def __init__(self, stop_at: str = "never said") -> None:
        self.lines: list[str] = []
        self.phases: list[str] = []
        self.stop_at = stop_at

    def say(self, sentence: str) -> None:
        self.lines.append(sentence)
        if self.stop_at in sentence:
            raise KeyboardInterrupt

    def show(self, stats) -> None:
        self.phases.append(stats.phase)


def volumes(count: int = 4) -> tuple[LabelledVolume, ...]:
    """A bright ball in noise for each of so many patients."""
    found = []
    for number in range(count):
        rng = np.random.default_rng(number)
        places = np.indices((40, 40, 40)) - rng.uniform(14, 26, 3)[:, None, None, None]
        ball = np.sqrt(np.square(places).sum(axis=0)) < rng.uniform(6, 10)
        values = rng.normal(50, 10, ball.shape).astype(np.float32) + 80 * ball
        name = f"case{number}"
        found.append(LabelledVolume(name, name, values, ball.astype(np.uint8), {1: "ball"}))
    return tuple(found)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Random weights of a tiny network, which stands for the compact one."""
    torch.manual_seed(0)
    path = tmp_path / "small3d.safetensors"
    save_weights(build_sam3d(SMALL3D), path)

    def build(name: str, checkpoint: Path) -> Sam3d:
        model = build_sam3d(SMALL3D)
        load_checkpoint(model, checkpoint)
        return model

    monkeypatch.setattr(run3d, "build_model3d", build)
    monkeypatch.setattr(run3d, "ANCHORS", 1)
    return path


def run(base: Path, notes: Notes, **changes: object) -> VolumeOutcome:
    settings = TrainSettings.parse({**SETTINGS, **changes})
    job = VolumeJob("small3d", base, base.parent / "registry", volumes(), settings)
    return train_volumes(job, notes)


def test_a_better_network_is_published_and_serves(base: Path) -> None:
    notes = Notes()
    outcome = run(base, notes)
    assert outcome.version is not None, outcome.verdict.reason
    assert sum(outcome.after.dice.values()) > sum(outcome.before.dice.values())
    registry = Registry(base.parent / "registry", "small3d", base)
    assert registry.serving() == outcome.version
    manifest = outcome.version.manifest
    assert (manifest.trained, manifest.encoder_changed) == ("all", True)
    assert manifest.n_images == 3 and len(manifest.seen) == 3
    assert set(manifest.seen) < {unit_id(volume.patient) for volume in volumes()}
    assert notes.phases[-1] == "done" and "serves from now on" in notes.lines[-1]
    assert len(outcome.stats.history) == 3
    # What was learned is gone; the version is all that is needed.
    assert not list((registry.folder / "runs/train_01").glob("state-*"))
    model = build_sam3d(SMALL3D)
    load_checkpoint(model, base)
    apply_version(model, outcome.version)


def test_the_next_run_begins_with_what_serves_and_judges_by_new_patients(base: Path) -> None:
    first = run(base, Notes())
    assert first.version is not None
    second = run(base, Notes(), max_epochs=1, epoch_steps=1, publish="never")
    assert second.version is None
    assert second.before.dice == pytest.approx(first.after.dice, abs=1e-3)


def test_a_result_is_only_published_where_that_is_wanted(base: Path) -> None:
    notes = Notes()
    assert run(base, notes, publish="never", epoch_steps=1).version is None
    assert "goes on serving" in notes.lines[-1]
    assert Registry(base.parent / "registry", "small3d", base).serving() is None


def test_an_interrupted_run_goes_on(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run3d, "SAVE_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt):
        run(base, Notes("epoch 2"), publish="force")
    notes = Notes()
    assert run(base, notes, publish="force").version is not None
    assert "going on after 11 batches of an interrupted run" in notes.lines


def test_without_volumes_it_says_what_to_do(base: Path) -> None:
    job = VolumeJob("small3d", base, base.parent, (), TrainSettings())
    with pytest.raises(ImageError, match="save a label first"):
        train_volumes(job, Notes())

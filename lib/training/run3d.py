"""A training run on labelled volumes, from the serving version to a better one.

As `lib.training.run` for slices, with the same split, gate and registry: the serving network is
judged on held-out volumes; it learns from windows of the others and from phantoms, which keep it
from forgetting; its best moving average is judged on the same volumes and on phantoms; the gate
decides; the registry publishes. All of the network learns. A run that was interrupted goes on where
its state was saved, unless another version serves by now.

Concurrency contract: as `lib.training.run`; one process.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.data.phantoms3d import make_phantom3d
from lib.data.split import split_cases, unit_id
from lib.data.windows3d import LabelledVolume, Mixture3d, Window3d, windows_round
from lib.errors import ImageError
from lib.imaging.cube import standardised
from lib.networks.backends import choose_device
from lib.networks.sam3d import Sam3d
from lib.networks.weights import build_model3d
from lib.training.gate import GateRule, Verdict, compare, decide
from lib.training.loop import BatchResult
from lib.training.pretrain3d import Pretrain3dPlan, Pretrainer3d
from lib.training.progress import EpochRecord, Observer, RunStats
from lib.training.registry import Registry, Version, VersionFacts, apply_version
from lib.training.run import alone
from lib.training.run_plan import choose_autocast
from lib.training.settings import TrainSettings
from lib.training.validate3d import click_dice3d
from lib.training.validation import CLICKS, GOOD_DICE, Summary, TargetScore, clicks_to

PROMPTS = (1, 3, 5)
"""Numbers of clicks that are judged."""
ANCHORS = 4
ANCHOR_SEED = 20231023
"""Any number will do; changing it makes old and new verdicts incomparable."""
LEARNING_RATE = 2e-4
"""Peak, for a network that has learned already."""
REHEARSAL = 0.25
"""Share of phantoms among the cubes that are learned from."""
SAVE_SECONDS = 60.0

Scores = tuple[TargetScore, ...]


@dataclass(frozen=True)
class VolumeJob:
    """What is trained, on what, and where it goes.

    Attributes:
        architecture: of the network.
        weights: base weight file.
        registry: folder of all registries.
        volumes: labelled ones.
        settings: of the client.
    """

    architecture: str
    weights: Path
    registry: Path
    volumes: tuple[LabelledVolume, ...]
    settings: TrainSettings


@dataclass(frozen=True)
class VolumeOutcome:
    """What came of a run.

    Attributes:
        version: that was published, or None.
        verdict: of the gate.
        before, after: figures on the held-out volumes.
        stats: the last ones.
    """

    version: Version | None
    verdict: Verdict
    before: Summary
    after: Summary
    stats: RunStats


def train_volumes(job: VolumeJob, observer: Observer) -> VolumeOutcome:
    """Carry out a run.

    Args:
        job: what is to be done.
        observer: gets lines and figures.

    Raises:
        ImageError: no volume to learn from.
        TrainingError: the run cannot go on; the serving version is as it was.
        Samed2dError: the loss is no number.
    """
    if not job.volumes:
        raise ImageError(
            got="no labelled volume to train on",
            allowed="at least one volume with an object",
            todo="save a label first",
        )
    registry = Registry(job.registry, job.architecture, job.weights)
    folder = registry.folder / "runs" / job.settings.name
    with alone(folder, active=True):
        return _VolumeRun(job, registry, folder, observer).carry_out()


class _Sitting(Pretrainer3d):
    """A run that ends by time or by steps, whichever comes first."""

    @property
    def passed(self) -> float:
        """Share of the run that has passed, 0..1."""
        steps = self.step / max(1, self.schedule.steps)
        return min(1.0, max(steps, self.seconds / (60 * self.schedule.minutes)))


class _VolumeRun:
    """One sitting."""

    def __init__(
        self, job: VolumeJob, registry: Registry, folder: Path, observer: Observer
    ) -> None:
        self.job, self.registry, self.observer = job, registry, observer
        self.settings = settings = job.settings
        self.serving = registry.serving()
        seen = frozenset(self.serving.manifest.seen) if self.serving else frozenset()
        self.split = split_cases(job.volumes, settings.val_split, seen)
        device = choose_device(settings.device)
        self.model = self._network(self.serving).to(device)
        self.judged = _windows(self.split.validation, self.model.config.image_size)
        self.anchors = _anchors(self.model.config.image_size)
        serves = registry.base_version if self.serving is None else self.serving.model_version
        mark = hashlib.sha256(f"{serves} {settings.recipe}".encode()).hexdigest()[:12]
        self.out = folder / f"state-{mark}"
        self.plan = _plan(settings, device)
        self.stats = RunStats(
            name=settings.name,
            part="all",
            phase="judging",
            epoch=0,
            total_epochs=settings.max_epochs,
            seconds=0.0,
            started=time.time(),
        )
        self.history: list[EpochRecord] = []
        self.best: tuple[float, int, dict[str, Tensor]] | None = None
        self.saved = time.monotonic()

    def carry_out(self) -> VolumeOutcome:
        """Judge, learn, judge, publish."""
        split = self.split
        self.observer.say(
            f"{len(split.training)} volumes to learn from, {len(split.validation)} to judge by "
            f"(split by {split.level}); recipe {self.settings.recipe}"
        )
        before, anchors_before = self._scores(self.model)
        self._record(0, before, 0.0, None)
        trained = self._learn()
        self._show(phase="judging")
        after, anchors_after = self._scores(trained)
        serving = self.registry.serving()
        if serving != self.serving:
            self.observer.say("another version serves by now: it is judged as well")
            present = self._network(serving).to(next(trained.parameters()).device)
            before, anchors_before = self._scores(present)
        verdict = decide(
            compare(before, after),
            compare(anchors_before, anchors_after),
            GateRule(),
            split.level,
        )
        wanted = self.settings.publish
        version = None
        if wanted == "force" or (wanted == "gate" and verdict.publish):
            version = self._publish(trained, verdict, Summary.of(before), Summary.of(after))
        shutil.rmtree(self.out, ignore_errors=True)
        self._conclude(verdict, version)
        return VolumeOutcome(version, verdict, Summary.of(before), Summary.of(after), self.stats)

    def _network(self, version: Version | None) -> Sam3d:
        model = build_model3d(self.job.architecture, self.job.weights)
        if version is not None:
            apply_version(model, version)
        return model

    def _scores(self, model: Sam3d) -> tuple[Scores, Scores]:
        """On held-out volumes, and on phantoms."""
        modes = model.training
        model.eval()
        found = _judge(model, self.judged), _judge(model, self.anchors)
        model.train(modes)
        return found

    def _learn(self) -> Sam3d:
        """Train to the end; the best moving average, in evaluation mode."""
        run = _Sitting(self.model, self.split.training, self.plan, self.out)
        if self.settings.resume and run.resume():
            self.observer.say(f"going on after {run.step} batches of an interrupted run")
        self._show(phase="training")
        if run.passed < 1.0:
            run.run(self._after_step)
        best = run.averaged_model
        if self.best is None:
            self._record(run.step // self.settings.epoch_steps, self._scores(best)[0], run.seconds)
        else:
            best.load_state_dict(self.best[2])
        return best

    def _after_step(self, run: Pretrainer3d, result: BatchResult) -> None:
        loss = float(np.mean(result.losses))
        if run.step % self.settings.epoch_steps == 0:
            epoch = run.step // self.settings.epoch_steps
            scores, _ = self._scores(run.averaged_model)
            score = self._record(epoch, scores, run.seconds, loss)
            if self.best is None or score > self.best[0]:
                state = run.averaged_model.state_dict()
                self.best = score, epoch, {name: t.clone() for name, t in state.items()}
            rate = run.step * self.plan.batch_size / max(run.seconds, 1e-9)
            self._show(epoch=epoch, seconds=run.seconds, loss=loss, rate=rate)
        if time.monotonic() - self.saved > SAVE_SECONDS:
            run.save()
            self.saved = time.monotonic()

    def _record(
        self, epoch: int, scores: Scores, seconds: float, loss: float | None = None
    ) -> float:
        """Note and tell the figures of an epoch; its score."""
        summary = Summary.of(scores)
        record = EpochRecord(epoch, seconds, loss, dict(summary.dice), summary.clicks_to_90, None)
        self.history.append(record)
        self.observer.say(record.line())
        return record.score

    def _show(self, **changes: object) -> None:
        best = 0 if self.best is None else self.best[1]
        self.stats = replace(
            self.stats,
            history=tuple(self.history),
            best_epoch=best,
            **changes,  # type: ignore[arg-type]  # fields of RunStats
        )
        self.observer.show(self.stats)

    def _publish(self, model: Sam3d, verdict: Verdict, before: Summary, after: Summary) -> Version:
        parents = (self.serving, self.registry.serving())
        seen = {patient for parent in parents if parent for patient in parent.manifest.seen}
        seen |= {unit_id(volume.patient) for volume in self.split.training}
        facts = VersionFacts(
            recipe=self.settings.recipe,
            trained="all",
            data_sha256=_digest(self.job.volumes),
            n_images=len(self.split.training),
            seen=tuple(sorted(seen)),
            metrics={
                name: {"before": before.dice[name], "after": after.dice[name]}
                for name in after.dice
            },
            gate=verdict.facts,
        )
        return self.registry.publish(model, facts)

    def _conclude(self, verdict: Verdict, version: Version | None) -> None:
        serving = self.registry.serving()
        serves = self.registry.base_version if serving is None else serving.model_version
        self.observer.say(verdict.reason)
        if version is not None:
            self.observer.say(f"published: {version.model_version} serves from now on")
        else:
            self.observer.say(f"not published: {serves} goes on serving")
        epoch = self.history[-1].epoch
        self._show(phase="done", epoch=epoch, version=serves, verdict=verdict.reason)


def _plan(settings: TrainSettings, device: torch.device) -> Pretrain3dPlan:
    """How long and how fast; the precision is that of adapters of slices on this device."""
    return Pretrain3dPlan(
        minutes=settings.max_minutes,
        steps=settings.max_epochs * settings.epoch_steps,
        batch_size=settings.train_batch_size,
        learning_rate=settings.learning_rate or LEARNING_RATE,
        warmup=0.05,
        ema=0.98,
        seed=settings.seed,
        threads=torch.get_num_threads(),
        bf16=choose_autocast(settings.precision, device, "adapters") is not None,
        recipe="paper" if settings.recipe == "paper" else "default",
        mixture=Mixture3d(real_share=1 - REHEARSAL, stock=16),
    )


def _windows(volumes: Sequence[LabelledVolume], size: int) -> list[tuple[str, str, str, Window3d]]:
    """Name, patient, label and cube of each object."""
    return [
        (volume.name, volume.patient, label, window)
        for volume in volumes
        for label, window in windows_round(volume, size)
    ]


def _anchors(size: int) -> list[tuple[str, str, str, Window3d]]:
    """Phantoms whose truth is exact, the same in each run."""
    found = []
    for number in range(ANCHORS):
        phantom = make_phantom3d(np.random.default_rng([ANCHOR_SEED, number]), size, most=1)
        name = f"phantom {number}"
        window = Window3d(standardised(phantom.values), phantom.masks)
        found.append((name, name, phantom.names[0], window))
    return found


def _judge(model: Sam3d, cases: Sequence[tuple[str, str, str, Window3d]]) -> Scores:
    scores = []
    for target, (name, patient, label, window) in enumerate(cases):
        by_clicks = tuple(map(float, click_dice3d(model, [window], CLICKS)[0]))
        scores.append(
            TargetScore(
                image=name,
                patient=patient,
                label=label,
                dice={str(count): by_clicks[count - 1] for count in PROMPTS},
                clicks_to_90=clicks_to(GOOD_DICE, by_clicks),
                target=target,
                by_clicks=by_clicks,
            )
        )
    return tuple(scores)


def _digest(volumes: Sequence[LabelledVolume]) -> str:
    """SHA-256 of names, voxels and labels, in any order of the volumes."""
    parts = []
    for volume in volumes:
        whole = hashlib.sha256(repr((volume.name, volume.patient, volume.names)).encode())
        for array in (volume.values, volume.labels):
            whole.update(repr((array.shape, array.dtype.str)).encode())
            whole.update(np.ascontiguousarray(array).data)
        parts.append(whole.hexdigest())
    return hashlib.sha256("".join(sorted(parts)).encode()).hexdigest()

"""A training run from labelled slices to a published version.

Order: the serving model is judged on the held-out split; the network learns; its best epoch is
judged on the same split and on phantoms; the gate decides; the registry publishes; a report is
written. A run that was interrupted goes on where its state was saved.

Concurrency contract. A run shares the folders of its name and of the registry with other
processes. Two runs of one name exclude each other by a lock on ``<run>/lock``; the registry has its
own lock (see there). In a distributed run only the process of rank 0 writes, validates, judges and
publishes; the others learn along.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from lib.data.labelled_slices import LabelledSlices
from lib.data.split import split_cases, unit_id
from lib.errors import TrainingError
from lib.networks.backends import TorchEncoder
from lib.networks.published import neutralise_adapters, reset_adapters
from lib.networks.sam import AdapterSam
from lib.networks.training_encoder import TrainingEncoder
from lib.networks.weights import build_model
from lib.training.anchors import anchor_images
from lib.training.code_version import code_version
from lib.training.engine import Clock, Handler, go_on_from, make_engine, tracking_handlers
from lib.training.examples import EncodedExamples, ExampleSource, FreshExamples, learnable
from lib.training.feed import Feed
from lib.training.foreign import LabelFit, label_fit
from lib.training.gate import GateRule, Verdict, compare, decide
from lib.training.handlers import Watch, put
from lib.training.learner import Learner
from lib.training.parallel import LocalNetwork, SharedNetwork, TrainedNetwork
from lib.training.progress import EpochRecord, Observer, RunStats
from lib.training.recipe import find_recipe, prepare_parameters, trains_encoder
from lib.training.registry import Registry, Version, VersionFacts, apply_version
from lib.training.remembered import RememberedEncoder
from lib.training.report import ReportData, write_report
from lib.training.run_plan import plan_run
from lib.training.run_state import FILE as STATE_FILE
from lib.training.run_state import load_state, save_state
from lib.training.settings import TrainSettings
from lib.training.validation import Summary, TargetScore, ValidationSet

Scores = tuple[tuple[TargetScore, ...], tuple[TargetScore, ...]]
"""Before and after."""


@dataclass(frozen=True)
class TrainJob:
    """What is trained, on what, and where it goes.

    Attributes:
        architecture: of the network.
        weights: base weight file.
        registry: folder of all registries.
        data: labelled slices.
        settings: of the client.
        cache: folder for embeddings, or None.
    """

    architecture: str
    weights: Path
    registry: Path
    data: LabelledSlices
    settings: TrainSettings
    cache: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        version: that was published, or None.
        verdict: of the gate.
        before, after: figures on the validation split.
        report: folder with report.html.
        stats: the last ones.
    """

    version: Version | None
    verdict: Verdict
    before: Summary
    after: Summary
    report: Path
    stats: RunStats


def train(job: TrainJob, observer: Observer, rank: int = 0, world: int = 1) -> Outcome | None:
    """Carry out a run.

    Args:
        job: what is to be done.
        observer: gets lines and figures, of rank 0 only.
        rank: number of this process.
        world: processes in all; torch.distributed has been initialised where there are several.

    Returns:
        What came of it; None in processes of another rank than 0.

    Raises:
        ImageError: no slice to train on.
        TrainingError: the run cannot go on; what was saved is intact, and the serving version too.
    """
    registry = Registry(job.registry, job.architecture, job.weights)
    folder = registry.folder / "runs" / job.settings.name
    with alone(folder, active=rank == 0):
        return _Run(job, registry, folder, observer, rank, world).carry_out()


class _Run:
    """One sitting of a run."""

    def __init__(
        self,
        job: TrainJob,
        registry: Registry,
        folder: Path,
        observer: Observer,
        rank: int,
        world: int,
    ) -> None:
        self.job, self.registry, self.folder, self.observer = job, registry, folder, observer
        self.settings, self.rank, self.world = job.settings, rank, world
        self.recipe = find_recipe(job.settings.recipe)
        self.serving = registry.serving()
        seen = frozenset(self.serving.manifest.seen) if self.serving is not None else frozenset()
        self.split = split_cases(job.data.images, job.settings.val_split, seen)
        self.model = self._model()
        targets = sum(len(image.masks) for image in self.split.training)
        self.plan = plan_run(job.settings, self.model, len(self.split.training), targets)
        self.model.to(self.plan.device)
        self.validation = self.anchors = None
        if rank == 0:
            frozen = not trains_encoder(self.plan.part)
            self.validation = ValidationSet(self.model, self.split.validation, keep=frozen)
            self.anchors = ValidationSet(self.model, anchor_images(), keep=frozen)

    def carry_out(self) -> Outcome | None:
        """Judge, learn, judge, publish."""
        self._introduce()
        before, anchors_before = self._scores(), self._anchor_scores()
        fits = self._label_fits()
        self._init_adapters()
        watch = self._learn(before)
        if self.rank != 0:
            return None
        put(watch.learner, watch.best)
        self.model.eval()
        watch.show(self.iterations, phase="judging")
        self.observer.say("judging the best result against the serving model")
        after, anchors_after = self._scores(), self._anchor_scores()
        before, anchors_before = self._against_present(before, anchors_before)
        rule = GateRule()
        if fits and not rule.fits(fits[0]):
            fits.append(label_fit(self.model, self.split.validation))
        verdict = decide(
            compare(before, after),
            compare(anchors_before, anchors_after),
            rule,
            self.split.level,
            fits=fits,
        )
        published = self._wants(verdict)
        report = self._report(
            watch, verdict, (before, after), (anchors_before, anchors_after), published
        )
        version = None
        if published:
            version = self._publish(verdict, Summary.of(before), Summary.of(after), report)
        (self.folder / STATE_FILE).unlink(missing_ok=True)
        return self._conclude(watch, verdict, version, before, after, report)

    def _model(self) -> AdapterSam:
        model = build_model(self.job.architecture, self.job.weights)
        if self.serving is not None:
            apply_version(model, self.serving)
        return model

    def _introduce(self) -> None:
        """Say what is about to happen."""
        split, data = self.split, self.job.data
        say = self.observer.say if self.rank == 0 else lambda _: None
        say(
            f"{len(data.images)} labelled slices, {len(data.skipped)} left out: "
            + (", ".join(f"{n} {reason}" for reason, n in data.counts().items()) or "none")
        )
        say(
            f"{len(split.training)} slices to learn from, {len(split.validation)} to judge by "
            f"(split by {split.level})"
        )
        say(f"training {self.plan.part}: {self.plan.reason}; recipe {self.recipe.name}")

    def _scores(self) -> tuple[TargetScore, ...]:
        return () if self.validation is None else self.validation.scores()

    def _anchor_scores(self) -> tuple[TargetScore, ...]:
        return () if self.anchors is None else self.anchors.scores()

    def _label_fits(self) -> list[LabelFit | None]:
        """Whether the labels belong to their images, as far as the serving model can tell."""
        if self.rank != 0:
            return []
        fit = label_fit(self.model, self.job.data.images)
        if not GateRule().fits(fit):
            self.observer.say("the labels do not seem to belong to their images: check them")
        return [fit]

    def _against_present(
        self, before: tuple[TargetScore, ...], anchors: tuple[TargetScore, ...]
    ) -> tuple[tuple[TargetScore, ...], tuple[TargetScore, ...]]:
        """Scores of what serves now: somebody may have rolled back or published meanwhile."""
        serving = self.registry.serving()
        if serving == self.serving:
            return before, anchors
        self.observer.say("another version serves by now: it is judged as well")
        model = build_model(self.job.architecture, self.job.weights)
        if serving is not None:
            apply_version(model, serving)
        model.to(self.plan.device)
        images = (self.split.validation, anchor_images())
        first, second = (ValidationSet(model, chosen).scores() for chosen in images)
        return first, second

    def _measure(self) -> tuple[dict[str, float], float]:
        summary = Summary.of(self._scores())
        return dict(summary.dice), summary.clicks_to_90

    def _init_adapters(self) -> None:
        if not trains_encoder(self.plan.part):
            return
        if self.settings.adapter_init == "neutral":
            neutralise_adapters(self.model)
        elif self.settings.adapter_init == "published":
            torch.manual_seed(self.settings.seed)
            reset_adapters(self.model)

    def _learn(self, before: tuple[TargetScore, ...]) -> Watch:
        """Train to the end, from the start or from a saved state."""
        prepare_parameters(self.model, self.plan.part, self.recipe)
        watch = self._watch(Learner(self._network(), self.recipe, self._rate, self.plan.autocast))
        done = self._restore(watch)
        if not watch.history and self.rank == 0:
            summary = Summary.of(before)
            watch.history.append(
                EpochRecord(0, 0.0, None, dict(summary.dice), summary.clicks_to_90, None)
            )
            watch.best, watch.best_epoch = watch.learner.result(), 0
            self.observer.say(watch.history[0].line())
        self.model.train()
        if done < self.iterations:
            watch.show(done, phase="encoding")
            source = self._source()
            watch.show(done, phase="training")
            self._run_engine(watch, source, done)
        return watch

    @property
    def iterations(self) -> int:
        """Batches of the whole run."""
        return self.settings.max_epochs * self.plan.epoch_steps

    @property
    def _rate(self) -> float | None:
        return self.settings.learning_rate or None

    def _network(self) -> TrainedNetwork:
        encode = None
        if trains_encoder(self.plan.part):
            encode = TrainingEncoder(self.model, self.plan.autocast)
        kind = LocalNetwork if self.world == 1 else SharedNetwork
        return kind(self.model, encode)

    def _watch(self, learner: Learner) -> Watch:
        settings = self.settings
        return Watch(
            learner=learner,
            clock=Clock(60 * settings.max_minutes, self.iterations),
            measure=self._measure if self.rank == 0 else None,
            save=lambda state: save_state(self.folder, state),
            observer=self.observer,
            stats=RunStats(
                name=settings.name,
                part=self.plan.part,
                phase="judging",
                epoch=0,
                total_epochs=settings.max_epochs,
                seconds=0.0,
                started=time.time(),
            ),
            fingerprint=self._fingerprint(),
            data=self.job.data.digest,
            images=settings.train_batch_size,
        )

    def _restore(self, watch: Watch) -> int:
        """Go on from a saved state where there is one for this run; batches done so far."""
        state = load_state(self.folder) if self.settings.resume else None
        if state is None or state.fingerprint != watch.fingerprint:
            return 0
        watch.learner.restore(state.learner)
        watch.clock.before = state.seconds
        if state.data == self.job.data.digest:
            watch.history = [EpochRecord(**record) for record in state.history]
            watch.best, watch.best_epoch = state.best, state.best_epoch
        self.observer.say(f"going on after {state.iteration} batches of an interrupted run")
        return min(state.iteration, self.iterations)

    def _fingerprint(self) -> str:
        """Of what must be the same to go on with a saved state."""
        facts = (
            self.registry.base_version,
            None if self.serving is None else self.serving.model_version,
            self.plan.part,
            repr(self.recipe),
            self.settings.adapter_init,
        )
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def _source(self) -> ExampleSource:
        images = learnable(self.split.training, self.model, self.recipe)
        if self.rank == 0 and len(images) < len(self.split.training):
            lost = len(self.split.training) - len(images)
            self.observer.say(f"{lost} slices whose objects vanish at the network's resolution")
        if trains_encoder(self.plan.part):
            return FreshExamples(images, self.model, self.recipe)
        encoder = TorchEncoder(self.model)
        version = self.registry.base_version
        if self.serving is not None:
            version = self.serving.encoder_version
        encode = encoder.encode
        if self.job.cache is not None:
            encode = RememberedEncoder(encode, version, self.job.cache)
        return EncodedExamples(
            images,
            self.model,
            self.recipe,
            encode,
            self.plan.variants,
            self.plan.phantoms,
            self._encoded,
        )

    def _encoded(self, done: int, total: int) -> None:
        if self.rank == 0 and (done == total or done % 100 == 0):
            self.observer.say(f"{done} of {total} images encoded")

    def _run_engine(self, watch: Watch, source: ExampleSource, done: int) -> None:
        settings = self.settings
        feed = Feed(
            source,
            settings.train_batch_size,
            settings.seed,
            self.rank,
            self.world,
            self.plan.device.type,
        )
        handlers: list[Handler] = [watch]
        if self.rank == 0:
            handlers += tracking_handlers(self.folder, settings, self.job.architecture)
        steps = self.plan.epoch_steps
        engine = make_engine(watch.learner, feed, watch.clock, settings.max_epochs, steps, handlers)
        go_on_from(engine, done, settings.max_epochs, steps)
        engine.run()
        if self.rank == 0 and engine.state.iteration % steps:
            watch.record(engine.state.epoch)
        if self.rank == 0:
            save_state(self.folder, watch.state(self.iterations))

    def _wants(self, verdict: Verdict) -> bool:
        """Whether the result is to serve."""
        wanted = self.settings.publish
        return wanted == "force" or (wanted == "gate" and verdict.publish)

    def _report(
        self,
        watch: Watch,
        verdict: Verdict,
        scores: Scores,
        anchors: Scores,
        published: bool,
    ) -> Path:
        """Write the report of this run in place of its last one."""
        folder = self.folder / "report"
        serving = self.registry.base_version
        if self.serving is not None:
            serving = self.serving.model_version
        data = ReportData(
            run=self.settings.name,
            architecture=self.job.architecture,
            recipe=self.recipe.name,
            part=self.plan.part,
            part_reason=self.plan.reason,
            split=self.split,
            skipped=self.job.data.skipped,
            before=scores[0],
            after=scores[1],
            anchors_before=anchors[0],
            anchors_after=anchors[1],
            verdict=verdict,
            published=published,
            history=tuple(watch.history),
            best_epoch=watch.best_epoch,
            seconds=watch.clock.seconds,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions={
                "serving before": serving,
                "this program": code_version(),
                "torch": torch.__version__,
                "monai": importlib.metadata.version("monai"),
            },
            settings=asdict(self.settings),
        )
        write_report(folder, data)
        return folder

    def _publish(self, verdict: Verdict, before: Summary, after: Summary, report: Path) -> Version:
        """Publish the model as it is now."""
        data, split = self.job.data, self.split
        # Of the version it was trained from, and of the one that serves by now.
        parents = (self.serving, self.registry.serving())
        seen = {patient for parent in parents if parent for patient in parent.manifest.seen}
        seen |= {unit_id(image.patient) for image in split.training}
        facts = VersionFacts(
            recipe=self.recipe.name,
            trained=self.plan.part,
            data_sha256=data.digest,
            n_images=len(split.training),
            seen=tuple(sorted(seen)),
            metrics={
                name: {"before": before.dice[name], "after": after.dice[name]}
                for name in after.dice
            },
            gate=verdict.facts,
        )
        attachments = {path.name: path for path in sorted(report.iterdir()) if path.is_file()}
        return self.registry.publish(self.model, facts, attachments=attachments)

    def _conclude(
        self,
        watch: Watch,
        verdict: Verdict,
        version: Version | None,
        before: tuple[TargetScore, ...],
        after: tuple[TargetScore, ...],
        report: Path,
    ) -> Outcome:
        """Tell everybody what came of it."""
        serving = self.registry.base_version
        if (current := self.registry.serving()) is not None:
            serving = current.model_version
        self.observer.say(verdict.reason)
        if version is not None:
            self.observer.say(f"published: {version.model_version} serves from now on")
        else:
            self.observer.say(f"not published: {serving} goes on serving")
        watch.show(
            self.iterations,
            phase="done",
            epoch=watch.history[-1].epoch,
            version=serving,
            verdict=verdict.reason,
        )
        return Outcome(version, verdict, Summary.of(before), Summary.of(after), report, watch.stats)


@contextlib.contextmanager
def alone(folder: Path, active: bool) -> Iterator[None]:
    """Keep other runs of the same name away.

    Args:
        folder: of the run.
        active: False lets everything pass.

    Raises:
        TrainingError: another process is at it.
    """
    if not active:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Released by the system when this process ends, however it ends.
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainingError(
                got=f"a run {folder.name!r} that another process is carrying out",
                allowed="one at a time",
                todo="wait until it has ended, or choose another name",
            ) from error
        yield

"""``benchmark.py dataset``: what building a data set and reading it for training costs.

Processor time of one core is measured where it can be, because other work on the machine changes
it little; several processes and Ray are told in time on the wall too, which it does change.
"""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import yaml

from lib.data.builder.build import build
from lib.data.builder.engine import run_local
from lib.data.builder.outputs import SplitRule, Totals
from lib.data.check.check import check_folder
from lib.data.sa_med2d import IMAGES
from lib.data.shards.pack import pack
from lib.data.shards.stream import Pictures, Shards, Source, stream
from lib.data.stream import Mixture, Sample, sample_stream
from lib.data.streamed import StreamedImages
from lib.networks import ARCHITECTURES, build_sam
from lib.training.pretrain import Pretrainer, PretrainPlan, collate
from scripts._benchmark.archive import CLASSES, source_of, write_archive
from scripts._benchmark.errors import BenchmarkError
from scripts._benchmark.memory import MemoryUse, PeakMeter
from scripts._benchmark.plain_loop import plain_loop
from scripts._benchmark.study import Shape

Say = Callable[[str], None]
SCRIPT = Path(__file__).resolve().parents[1] / "build_dataset.py"
SALT = "a salt for measuring"
STEPS = 4
BATCH = 4


@dataclass(frozen=True)
class DatasetPlan:
    """What is to be measured.

    Attributes:
        cases: volumes of the archive.
        shape: of each.
        largest: of the volume whose peak memory is measured.
        architecture: whose training step is measured.
        ray: build on Ray, too.
        seed: of all.
    """

    cases: int
    shape: Shape
    largest: Shape
    architecture: str
    ray: bool = False
    seed: int = 0


@dataclass(frozen=True)
class EngineTimes:
    """One way to build the archive.

    Attributes:
        name: engine and processes.
        seconds: of the command on the wall.
        start: of it when there is nothing to build.
        rate: images a second on the wall, without `start`.
        processor: seconds of all processes without those of `start`; None for Ray's.
    """

    name: str
    seconds: float
    start: float
    rate: float
    processor: float | None


@dataclass(frozen=True)
class Rates:
    """Of one core, a second of processor time."""

    images: float
    masks: float


@dataclass(frozen=True)
class DatasetReport:
    """Everything that was found.

    Attributes:
        cases: of the archive.
        shape: of each.
        built: this project's builder.
        plain: the plain loop over the first case.
        checked: check_dataset.py over images of shape I x J.
        packed: pack_dataset.py over the same.
        engines: ways to build the whole archive.
        largest: shape of the volume below.
        memory: of a process that builds it.
        pictures: reading PNG folders of the same.
        shards: reading the same from shards.
        prepared: the same from shards, as training sees it: another view in other tones.
        appetite: images a second that a training step of one core takes.
        architecture: of that step.
    """

    cases: int
    shape: Shape
    built: Rates
    plain: Rates
    checked: Rates
    packed: Rates
    engines: tuple[EngineTimes, ...]
    largest: Shape
    memory: MemoryUse | None
    pictures: Rates
    shards: Rates
    prepared: float
    appetite: float
    architecture: str


def run(plan: DatasetPlan, folder: Path, say: Say) -> DatasetReport:
    """Measure all of it."""
    archive = folder / "archive"
    say(f"writing {plan.cases} volumes")
    write_archive(archive, plan.cases, plan.shape, plan.seed)
    say("the plain loop over the first")
    plain = _plain(archive, folder / "plain")
    say("building here")
    built = _rated(partial(_built, archive, folder / "set"))
    images = len(list((folder / "set" / IMAGES).iterdir()))
    engines = []
    for name, options in _engines(plan.ray):
        say(f"building with {name}")
        engines.append(_timed(name, options, archive, folder / "out", images))
    say("building along one axis, checking, packing, reading")
    flat = folder / "flat"
    _build(archive, flat, "z")
    checked = _rated(partial(_checked, flat))
    packed = _rated(partial(_packed, flat, folder / "shards"))
    pictures, shards = Pictures(flat), Shards(folder / "shards")
    read = [_rated(partial(_read, source)) for source in (pictures, shards)]
    say(f"training steps of {plan.architecture}")
    prepared, appetite = _training(shards, plan, folder)
    say(f"memory of a volume of {plan.largest}")
    return DatasetReport(
        cases=plan.cases,
        shape=plan.shape,
        built=built,
        plain=plain,
        checked=checked,
        packed=packed,
        engines=tuple(engines),
        largest=plan.largest,
        memory=_memory(plan, folder / "large"),
        pictures=read[0],
        shards=read[1],
        prepared=prepared,
        appetite=appetite,
        architecture=plan.architecture,
    )


def _engines(ray: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "one process", ("--workers", "1")
    yield "2 processes", ("--workers", "2")
    if ray:
        yield "ray, 2 workers", ("--workers", "2", "--engine", "ray")


def _rated(work: Callable[[], tuple[int, int]]) -> Rates:
    """Rates of something that tells how many images and masks it has done."""
    started = time.process_time()
    images, masks = work()
    passed = time.process_time() - started
    return Rates(images / passed, masks / passed)


def _plain(archive: Path, out: Path) -> Rates:
    out.mkdir()
    pair = archive / "c0_image.nii", archive / "c0_label.nii"
    rates = _rated(partial(plain_loop, *pair, out, len(CLASSES)))
    shutil.rmtree(out)
    return rates


def _built(archive: Path, out: Path) -> tuple[int, int]:
    totals = _build(archive, out, "xyz")
    return totals.images, totals.masks


def _checked(folder: Path) -> tuple[int, int]:
    report = check_folder(folder, 1, lambda done, total: None)
    return report.images, report.masks


def _packed(folder: Path, out: Path) -> tuple[int, int]:
    index = pack(folder, out, 100)
    return index.samples, sum(shard.masks for shard in index.shards)


def _build(archive: Path, out: Path, axes: str) -> Totals:
    rule, engine = SplitRule(share=0.0), partial(run_local, workers=1)
    sources = (source_of(archive, axes),)
    return build(sources, out, SALT, rule, engine, lambda outcome, total: None).totals


def _timed(
    name: str, options: tuple[str, ...], archive: Path, out: Path, images: int
) -> EngineTimes:
    """Run the command twice; the second time there is nothing to build."""
    description = archive / "archive.yaml"
    entry = {k: v for k, v in asdict(source_of(archive)).items() if v != ""}
    description.write_text(yaml.safe_dump({"sources": [entry]}))
    command = [sys.executable, str(SCRIPT), "--in", str(description), "--out", str(out), "--quiet"]
    first, second = (_run([*command, *options]) for _ in range(2))
    shutil.rmtree(out)
    working = max(first[0] - second[0], 1e-9)
    known = None if name.startswith("ray") else first[1] - second[1]
    return EngineTimes(name, first[0], second[0], images / working, known)


def _run(command: list[str]) -> tuple[float, float]:
    """Seconds on the wall and of processors, of a command and all it waited for."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"build_dataset.py failed: {done.stderr[-2000:]}")
    seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime


def _read(source: Source) -> tuple[int, int]:
    masks = sum(len(s.masks) for s, _ in islice(stream(source, 0), source.total()))
    return source.total(), masks


def _training(source: Source, plan: DatasetPlan, folder: Path) -> tuple[float, float]:
    """Images a second: made ready for a step, and taken by one."""
    mixture = Mixture(real_share=1.0, region_share=0.0)
    rng = np.random.default_rng(plan.seed)
    samples = sample_stream((), mixture, rng, StreamedImages(source, plan.seed))
    started = time.process_time()
    ready: list[Sample] = list(islice(samples, min(100, source.total())))
    prepared = len(ready) / (time.process_time() - started)
    torch.manual_seed(plan.seed)
    torch.set_num_threads(1)
    model = build_sam(ARCHITECTURES[plan.architecture])
    run = Pretrainer(model, (), PretrainPlan(batch_size=BATCH, bf16=False), folder / "run")
    batch = collate(ready[:BATCH])
    run._train_step(batch, rng)
    started = time.process_time()
    for _ in range(STEPS):
        run._train_step(batch, rng)
    return prepared, STEPS * BATCH / (time.process_time() - started)


def _memory(plan: DatasetPlan, folder: Path) -> MemoryUse | None:
    write_archive(folder / "archive", 1, plan.largest, plan.seed)
    # A process of its own, which holds nothing else.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        use = pool.apply(_build_and_tell, (folder,))
    shutil.rmtree(folder)
    return use


def _build_and_tell(folder: Path) -> MemoryUse | None:
    meter = PeakMeter()
    _build(folder / "archive", folder / "out", "xyz")
    return meter.read()

"""Reports as lines for a person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scripts._benchmark.click import ClickReport, Phase
from scripts._benchmark.dataset import DatasetReport
from scripts._benchmark.encoder import EncoderReport, VariantReport
from scripts._benchmark.machine import Machine
from scripts._benchmark.memory import MemoryUse
from scripts._benchmark.next_sample import NextReport
from scripts._benchmark.phantoms import PhantomReport
from scripts._benchmark.statistics import Summary
from scripts._benchmark.train import TrainReport, TrainSideReport
from scripts._benchmark.volume import VolumeReport

NOT_AVAILABLE = "not available"
PARTS = ("read", "wait", "encode", "decode", "write", "total")
"""Of the server's latencies, in the order in which a click spends them."""


def machine_lines(machine: Machine) -> list[str]:
    """Two lines on the computer."""
    versions = [f"{name} {version or 'missing'}" for name, version in machine.versions.items()]
    memory = NOT_AVAILABLE if machine.memory_gib is None else f"{machine.memory_gib} GiB"
    facts = [
        machine.cpu,
        f"{machine.cores} of {machine.cores_of_machine} cores",
        f"memory {memory}",
        f"torch threads {machine.torch_threads}",
        f"OMP_NUM_THREADS {machine.omp_num_threads or 'not set'}",
        machine.gpu or "no CUDA device",
        " ".join(machine.instructions),
    ]
    return ["machine   " + ", ".join(filter(None, facts)), "software  " + ", ".join(versions)]


def encoder_lines(report: EncoderReport) -> list[str]:
    """Times and ratios of the encoders, then how far their results are apart."""
    everyone = [report.baseline, *report.variants]
    times = [["encoder", "median ms", "min", "p95", "times faster", "prepared s", "with MiB"]]
    close = [["encoder", "embedding max", "relative", "logits max", "of", "Dice mean", "Dice min"]]
    for variant in everyone:
        times.append([variant.name, *_times(variant)])
        agreement = variant.agreement
        if agreement is not None and variant is not report.baseline:
            numbers = (
                f"{agreement.embedding_max_abs:.1e}",
                f"{100 * agreement.embedding_relative:.3f} %",
                f"{agreement.logits_max_abs:.1e}",
                f"{agreement.logits_largest:.1e}",
                f"{agreement.dice_mean:.4f}",
                f"{agreement.dice_minimum:.4f}",
            )
            close.append([variant.name, *numbers])
    return [
        f"{report.architecture}, {report.weights}, {report.parameters / 1e6:.1f} million numbers "
        f"in the encoder, on {report.device}; {report.rounds} rounds of {report.images} images",
        "",
        *table(times),
        "",
        f"against {report.baseline.name}:",
        *table(close),
        *(f"{v.name}: {NOT_AVAILABLE}: {v.unavailable}" for v in everyone if v.unavailable),
    ]


def click_lines(report: ClickReport) -> list[str]:
    """HTTP times by kind of click, then what the server says of itself."""
    parts = [name for name in PARTS if any(name in phase.parts for phase in report.phases)]
    http = [["HTTP, ms", "n", "p50", "p95", "max", "encoded before", "backend"]]
    inside = [["server, median ms", *parts, "HTTP"]]
    for phase in report.phases:
        http.append(_http(phase))
        if phase.parts:
            inside.append(
                [phase.name, *(_median(phase.parts.get(p)) for p in parts), _median(phase.http)]
            )
    ahead = report.ahead
    done = f"{ahead.unavailable}"
    if ahead.seconds is not None:
        done = f"{ahead.slices} slices in {ahead.seconds:.1f} s, a click each {ahead.pause} s"
    return [
        f"volume {' x '.join(map(str, report.shape))}, network {report.weights or 'as served'}, "
        f"an answer of {report.answer_bytes} bytes",
        f"server    starts in {_seconds(report.seconds_to_start)}, memory {_use(report.memory)}",
        f"ahead     {done}",
        "",
        *table(http),
        "",
        *table(inside),
    ]


def volume_lines(report: VolumeReport) -> list[str]:
    """One click that became a volume."""
    laps = ", ".join(f"{name} {value:.2f}" for name, value in report.latencies.items())
    return [
        f"volume {' x '.join(map(str, report.shape))}, network {report.weights or 'as served'}, "
        f"backend {report.backend or 'unknown'}",
        f"click     {report.point}",
        f"time      {report.seconds:.1f} s for {report.slices} slices with a mask, "
        f"{_seconds(report.seconds_per_slice)} a slice; again in {report.seconds_again:.1f} s",
        f"server    {laps or NOT_AVAILABLE}",
        f"memory    {_use(report.memory)}",
        f"answer    {report.answer_bytes} bytes",
    ]


def next_lines(report: NextReport) -> list[str]:
    """Latency by strategy, then how fast slices are scored."""
    rows = [["strategy", "median ms", "p95", "max", "requests"]]
    for name, times in report.latency.items():
        numbers = (f"{v:.1f}" for v in (times.median, times.p95, times.maximum))
        rows.append([name, *numbers, str(times.count)])
    return [
        f"next of {report.cases} cases with {report.slices} scored slices each, {report.labelled} "
        "of them labelled, over HTTP",
        "",
        *table(rows),
        "",
        f"first     {1000 * report.first:.0f} ms for the very first request",
        f"scoring   {report.slices_per_second:.1f} slices/s with {report.architecture} "
        f"({report.weights}, encoder {report.encoder}), measured on {report.scored} cases; the "
        "server works half of the time at most",
    ]


def phantom_lines(report: PhantomReport) -> list[str]:
    """Images a second by kind and in the usual mixture."""
    rows = [["kind", "images/s", "share"]]
    for kind, rate in report.rates.items():
        rows.append([kind, f"{rate:.0f}", f"{100 * report.shares[kind]:.0f} %"])
    rows.append(["usual mixture", f"{report.mixture:.0f}", "100 %"])
    return [
        f"{report.images} phantoms of each kind, {report.size} x {report.size}; images a second of "
        f"processor time (one core), each image the fastest of {report.rounds} rounds",
        "",
        *table(rows),
    ]


def dataset_lines(report: DatasetReport) -> list[str]:
    """Rates of one core, engines, memory, and reading beside what a training step takes."""
    ratio = report.built.images / report.plain.images
    rows = [["a second of processor time, one core", "images", "masks"]]
    for name, rates in (
        ("build", report.built),
        ("plain loop with nibabel, scikit-image, Pillow", report.plain),
        ("check", report.checked),
        ("pack", report.packed),
        ("read PNG folders", report.pictures),
        ("read shards", report.shards),
    ):
        rows.append([name, f"{rates.images:.0f}", f"{rates.masks:.0f}"])
    rows.append(["read shards, seen anew for training", f"{report.prepared:.0f}", ""])
    rows.append([f"training step of {report.architecture}", f"{report.appetite:.1f}", ""])
    engines = [["build on", "wall s", "nothing to do", "images/s between", "processor s"]]
    for each in report.engines:
        used = "not known" if each.processor is None else f"{each.processor:.0f}"
        start = f"{each.start:.0f}"
        engines.append([each.name, f"{each.seconds:.0f}", start, f"{each.rate:.0f}", used])
    memory = "not told here"
    if report.memory is not None:
        memory = f"{report.memory.peak:.0f} MiB, of which {report.memory.before:.0f} were programs"
    return [
        f"{report.cases} volumes of {report.shape}; the builder is {ratio:.1f} times as fast as "
        "the plain loop",
        "",
        *table(rows),
        "",
        *table(engines),
        "",
        f"peak memory of a volume of {report.largest}: {memory}",
    ]


def train_lines(report: TrainReport) -> list[str]:
    """Times of a batch by part, samples a second, memory; then what the two sides do."""
    rows = [
        ["batch, median s", "encode", "learn", "steps", "total", "images/s", "all cores", "MiB"]
    ]
    for side in (report.baseline, report.ours):
        rows.append([side.name, *_train_side(side)])
    gpu = [side for side in (report.baseline, report.ours) if side.gpu_peak is not None]
    return [
        f"{report.architecture}, {report.weights}, on {report.device}; {report.rounds} batches of "
        f"{report.images} images with {report.masks} masks each, the sides in turn",
        "",
        *table(rows),
        "",
        f"{report.times_faster:.2f} times the images a second, "
        f"{report.times_less_work:.2f} times less processor time",
        *(f"{side.name}: {side.gpu_peak:.0f} MiB of the GPU at most" for side in gpu),
        "learn: through the encoder to new weights; steps: the rest of the interaction",
        *(f"{side.name}: {side.about}" for side in (report.baseline, report.ours)),
    ]


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows in columns; the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(_aligned(row, widths)).rstrip() for row in rows]


def _aligned(row: Iterable[str], widths: Sequence[int]) -> list[str]:
    cells = zip(row, widths, strict=True)
    return [c.rjust(w) if n else c.ljust(w) for n, (c, w) in enumerate(cells)]


def _times(variant: VariantReport) -> list[str]:
    time = variant.time
    if time is None or variant.times_faster is None or variant.seconds_to_prepare is None:
        return ["-"] * 6
    memory = "-" if variant.memory is None else f"+{variant.memory.added:.0f}"
    return [
        f"{time.median:.2f}",
        f"{time.minimum:.2f}",
        f"{time.p95:.2f}",
        f"{variant.times_faster:.2f}",
        f"{variant.seconds_to_prepare:.1f}",
        memory,
    ]


def _train_side(side: TrainSideReport) -> list[str]:
    parts = (side.encode, side.learn, side.steps, side.total)
    memory = "-" if side.memory is None else f"{side.memory.peak:.0f}"
    return [
        *(f"{part.median / 1000:.2f}" for part in parts),
        f"{side.images_per_second:.2f}",
        f"{side.processor.median / 1000:.2f}",
        memory,
    ]


def _http(phase: Phase) -> list[str]:
    numbers = (phase.http.median, phase.http.p95, phase.http.maximum)
    before = f"{phase.encoded_before}" if phase.parts else "-"
    backends = ", ".join(phase.backends) or "-"
    return [phase.name, str(phase.http.count), *(f"{n:.1f}" for n in numbers), before, backends]


def _median(summary: Summary | None) -> str:
    return "-" if summary is None else f"{summary.median:.1f}"


def _seconds(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else f"{value:.2f} s"


def _use(memory: MemoryUse | None) -> str:
    if memory is None:
        return NOT_AVAILABLE
    return f"{memory.before:.0f} MiB before, {memory.peak:.0f} MiB at most"

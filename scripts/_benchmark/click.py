"""``benchmark.py click``: what an annotator waits for, over HTTP, on a large volume."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from lib.options import known_options
from scripts._benchmark.memory import MemoryUse, PeakMeter
from scripts._benchmark.network import NetworkSource
from scripts._benchmark.server import running_server
from scripts._benchmark.statistics import Summary, summarise
from scripts._benchmark.study import Points, Shape, Study, clicks, write_study
from scripts._benchmark.viewer import Answer, Progress, Viewer

Say = Callable[[str], None]

AHEAD_OPTION = "encode_ahead"
"""The option that switches encoding ahead on and off."""
WARM_UP, WARM_UP_SHAPE = "warm-up", (64, 64, 1)
"""Another image: what a server does once it does before the volume is opened."""
NEW_SLICE_EVERY = 5
"""While slices are encoded ahead, every fifth click is on a slice never seen."""


@dataclass(frozen=True)
class ClickPlan:
    """What is to be measured.

    Attributes:
        source: the network; None leaves the choice to the server.
        shape: (I, J, K) of the volume.
        clicks: how many for each number, where there are so many slices.
        conf: further options of the server.
        server: address of a running one, measured as it is; None starts our own.
        image: id there.
        model: name.
        pause: seconds between two clicks while slices are encoded ahead.
        settle: seconds to wait at most while the server prepares a faster encoder.
        ahead_seconds: after so long, encoding ahead is no longer waited for.
        seed: of image, clicks and random weights.
    """

    source: NetworkSource | None
    shape: Shape
    clicks: int
    conf: dict[str, str] = field(default_factory=dict)
    server: str | None = None
    image: str = ""
    model: str = "samed2d"
    pause: float = 0.5
    settle: float = 900.0
    ahead_seconds: float = 1800.0
    seed: int = 0


@dataclass(frozen=True)
class Phase:
    """Clicks of one kind.

    Attributes:
        name: which.
        http: from sending to the last byte.
        parts: what the server says of itself: read, wait, encode, decode, write, total, ...
        backends: that answered.
        encoded_before: how many of the answers needed no encoding.
    """

    name: str
    http: Summary
    parts: dict[str, Summary]
    backends: tuple[str, ...]
    encoded_before: int


@dataclass(frozen=True)
class AheadReport:
    """Encoding ahead.

    Attributes:
        unavailable: why there are no numbers, None where there are.
        seconds: from the first request until all slices were encoded.
        slices: how many.
        pause: between two clicks meanwhile.
    """

    unavailable: str | None = None
    seconds: float | None = None
    slices: int | None = None
    pause: float | None = None


@dataclass(frozen=True)
class ClickReport:
    """Everything that was found.

    Attributes:
        shape: of the volume.
        weights: of the network; None where the server chose.
        conf: options of the server.
        seconds_to_start: of the server; None where it ran already.
        answer_bytes: size of a label map's answer.
        phases: by kind of click.
        ahead: encoding ahead.
        memory: of the server's process; None where it is not known.
    """

    shape: Shape
    weights: str | None
    conf: dict[str, str]
    seconds_to_start: float | None
    answer_bytes: int
    phases: tuple[Phase, ...]
    ahead: AheadReport
    memory: MemoryUse | None


def run(plan: ClickPlan, folder: Path, say: Say) -> ClickReport:
    """Measure; ``say`` is told what happens.

    Args:
        plan: what.
        folder: empty, for the volume and for random weights.
        say: gets one line at a time.

    Raises:
        BenchmarkError: the server does not start or refuses.
        Samed2dError: the network cannot be used.
    """
    if plan.server is not None:
        clicker = _Clicker(plan, Study(plan.image, plan.shape), plan.server, say)
        clicker.without_ahead()
        ahead = AheadReport(unavailable="only measured on a server that is started for it")
        return clicker.report({}, None, ahead, None)
    study, conf = prepare_study(plan.source, plan.shape, plan.seed, folder, say)
    conf = conf | plan.conf
    can_switch = AHEAD_OPTION in known_options() and AHEAD_OPTION not in plan.conf
    off = conf | ({AHEAD_OPTION: "off"} if can_switch else {})
    with running_server(folder / "studies", off) as server:
        clicker, meter = _Clicker(plan, study, server.url, say), PeakMeter(server.process)
        clicker.without_ahead()
        memory = meter.read()
    ahead = AheadReport(unavailable=f"the server has no option {AHEAD_OPTION}")
    if can_switch:
        forget_embeddings(folder)
        with running_server(folder / "studies", conf | {AHEAD_OPTION: "on"}) as other:
            ahead = clicker.with_ahead(other.url)
    return clicker.report(conf, server.seconds_to_start, ahead, memory)


def prepare_study(
    source: NetworkSource | None, shape: Shape, seed: int, folder: Path, say: Say
) -> tuple[Study, dict[str, str]]:
    """Write the volume to ``folder/studies``; gives it and the options of its server."""
    say(f"writing a volume of {' x '.join(map(str, shape))} voxels")
    conf = prepare_folder(source, seed, folder)
    return write_study(folder / "studies", shape, seed), conf


def prepare_folder(source: NetworkSource | None, seed: int, folder: Path) -> dict[str, str]:
    """Make ``folder/studies`` with nothing but an image to warm up; gives the server's options."""
    (folder / "studies").mkdir()
    write_study(folder / "studies", WARM_UP_SHAPE, seed + 1, WARM_UP)
    return _server_conf(source, folder)


def _server_conf(source: NetworkSource | None, folder: Path) -> dict[str, str]:
    """Options that name the network, and a cache folder that nobody has used before."""
    conf = {"cache_dir": str(folder / "cache")} if "cache_dir" in known_options() else {}
    if source is not None:
        weights = source.file(folder)
        conf |= {"architecture": source.architecture, "checkpoint": str(weights)}
    return conf


def forget_embeddings(folder: Path) -> None:
    """Remove what a server has cached, but for encoders, which take long to prepare."""
    for entry in (folder / "cache").glob("*"):
        if entry.name != "encoders":
            shutil.rmtree(entry)


def warm_up(url: str, model: str, settle: float) -> None:
    """Let a server load its network, on another image, before the volume is opened.

    Args:
        url: of a server on what `prepare_study` wrote.
        model: name.
        settle: seconds to wait at most while it prepares a faster encoder.
    """
    viewer, place = Viewer(url, model, WARM_UP), Study(WARM_UP, WARM_UP_SHAPE).centre(0)
    viewer.click(Points(((round(place[0]), round(place[1]), 0),)))
    viewer.settle(settle)


class _Clicker:
    """Clicks through the phases and keeps what they cost."""

    def __init__(self, plan: ClickPlan, study: Study, url: str, say: Say) -> None:
        self._plan, self._study, self._say = plan, study, say
        self._viewer = Viewer(url, plan.model, study.image)
        self._phases: list[Phase] = []
        self._answer_bytes = 0

    def without_ahead(self) -> None:
        """First request, later clicks on its slice, first clicks on other slices."""
        n, (first, *others) = self._plan.clicks, self._slices()
        self._say("first request: reads the volume, loads the network")
        self._add("first_request", self._visit([first]))
        self._viewer.settle(self._plan.settle)
        self._say("later clicks")
        on_slice = list(islice(clicks(self._rng(1), self._study, first), 2 * n + 1))
        self._viewer.click(on_slice.pop())
        self._add("later_clicks", [self._viewer.click(points) for points in on_slice[:n]])
        answers = [self._viewer.click(points, label_only=True) for points in on_slice[n:]]
        self._add("later_clicks_label_only", answers)
        self._answer_bytes = answers[0].nbytes
        self._say("first clicks on new slices")
        self._add("new_slices", self._visit(others[:n]))

    def with_ahead(self, url: str) -> AheadReport:
        """The same on a server that encodes ahead: meanwhile, and when it is done."""
        plan, (first, *others) = self._plan, self._slices()
        warm_up(url, plan.model, plan.settle)
        self._viewer = Viewer(url, plan.model, self._study.image)
        self._say("clicks while slices are encoded ahead")
        started = time.perf_counter()
        answers = self._visit([first])
        self._add("first_request_with_ahead", answers)
        if self._viewer.progress(answers[0]) is None:
            return AheadReport(unavailable="the server does not say how far it is")
        seconds, progress = self._click_until_done(started, first, others)
        if progress is None or not progress.complete:
            return AheadReport(unavailable=f"not done after {seconds:.0f} s: {progress}")
        self._say("first clicks on new slices, encoded ahead")
        unseen = list(reversed(others))[: plan.clicks]
        self._add("new_slices_after_ahead", self._visit(unseen))
        return AheadReport(seconds=seconds, slices=progress.total, pause=plan.pause)

    def report(
        self,
        conf: dict[str, str],
        seconds_to_start: float | None,
        ahead: AheadReport,
        memory: MemoryUse | None,
    ) -> ClickReport:
        """All phases so far."""
        source = self._plan.source
        return ClickReport(
            shape=self._study.shape,
            weights=None if source is None else source.description,
            conf=conf,
            seconds_to_start=seconds_to_start,
            answer_bytes=self._answer_bytes,
            phases=tuple(self._phases),
            ahead=ahead,
            memory=memory,
        )

    def _click_until_done(
        self, started: float, first: int, others: Sequence[int]
    ) -> tuple[float, Progress | None]:
        """Click with pauses until all is encoded: on the first slice, now and then elsewhere."""
        later: list[Answer] = []
        new: list[Answer] = []
        unseen, seconds, progress = iter(others), 0.0, None
        for number, points in enumerate(clicks(self._rng(2), self._study, first), start=1):
            k = next(unseen, None) if number % NEW_SLICE_EVERY == 0 else None
            answer = self._viewer.click(points) if k is None else self._visit([k])[0]
            (later if k is None else new).append(answer)
            progress = self._viewer.progress(answer)
            seconds = time.perf_counter() - started
            if progress is None or progress.complete or seconds > self._plan.ahead_seconds:
                break
            time.sleep(self._plan.pause)
        self._add("later_clicks_during_ahead", later)
        self._add("new_slices_during_ahead", new)
        return seconds, progress

    def _visit(self, slices: Iterable[int]) -> list[Answer]:
        """One click on each slice."""
        rng = self._rng(3)
        return [self._viewer.click(Points((self._study.inside(rng, k),))) for k in slices]

    def _slices(self) -> list[int]:
        """All slices in a random order, the middle one first."""
        middle, count = self._study.shape[2] // 2, self._study.shape[2]
        return [middle, *(int(k) for k in self._rng(4).permutation(count) if k != middle)]

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._plan.seed, purpose])

    def _add(self, name: str, answers: Sequence[Answer]) -> None:
        if answers:
            self._phases.append(make_phase(name, answers))


def make_phase(name: str, answers: Sequence[Answer]) -> Phase:
    """Summarise answers; at least one."""
    laps: dict[str, list[float]] = {}
    for answer in answers:
        for part, seconds in answer.facts.get("latencies", {}).items():
            laps.setdefault(part, []).append(float(seconds))
    return Phase(
        name=name,
        http=summarise([answer.seconds for answer in answers]),
        parts={part: summarise(values) for part, values in laps.items()},
        backends=tuple(sorted({str(a.facts["backend"]) for a in answers if "backend" in a.facts})),
        encoded_before=sum(bool(answer.facts.get("encoded_before")) for answer in answers),
    )

"""``benchmark.py encoder``: every backend of the image encoder against the original arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch

from lib.networks import Sam3d
from lib.networks.backends import Encoder, choose_device, make_encoder
from lib.networks.encoder_network import Encodes
from scripts._benchmark.agreement import Agreement, compare, make_cases
from scripts._benchmark.cubes import OriginalCubeEncoder, compare_cubes, make_cube_cases
from scripts._benchmark.memory import MemoryUse, PeakMeter
from scripts._benchmark.network import NetworkSource
from scripts._benchmark.statistics import Summary, summarise, times_faster
from scripts._benchmark.upstream import OriginalEncoder

Say = Callable[[str], None]


@dataclass(frozen=True)
class EncoderPlan:
    """What is to be measured.

    Attributes:
        source: the network.
        variants: "backend:precision" each.
        rounds: in each, every encoder embeds all images, one encoder after the other.
        images: how many.
        upstream: checkout of the original; None takes our own unchanged arithmetic as baseline.
        beside: another network, whose encoder is timed in the same turns; None for none.
        device: "cpu", "cuda" or "auto".
    """

    source: NetworkSource
    variants: tuple[str, ...]
    rounds: int
    images: int
    upstream: Path | None
    device: str = "cpu"
    beside: NetworkSource | None = None


@dataclass(frozen=True)
class VariantReport:
    """One encoder; of an unavailable one there is only the reason.

    Attributes:
        name: "backend:precision", or the name of the baseline.
        unavailable: why it does not run here, None where it does.
        seconds_to_prepare: export, quantise, compile, and the first image.
        memory: of that; the other encoders are in memory meanwhile.
        time: for one image.
        times_faster: the baseline's median by this one's.
        agreement: with the baseline; None for another network.
    """

    name: str
    unavailable: str | None = None
    seconds_to_prepare: float | None = None
    memory: MemoryUse | None = None
    time: Summary | None = None
    times_faster: float | None = None
    agreement: Agreement | None = None


@dataclass(frozen=True)
class EncoderReport:
    """Everything that was found.

    Attributes:
        architecture, weights, device: what was measured.
        parameters: numbers in the image encoder.
        rounds, images: so often each of so many images was embedded by each encoder.
        baseline: its times; ``times_faster`` is 1.
        variants: in the order of the plan, another network last.
    """

    architecture: str
    weights: str
    device: str
    parameters: int
    rounds: int
    images: int
    baseline: VariantReport
    variants: tuple[VariantReport, ...]


class HasImage(Protocol):
    """What is encoded."""

    @property
    def image(self) -> torch.Tensor:
        """As the encoder takes it."""


@dataclass(frozen=True)
class Family:
    """What is different between networks of slices and of volumes.

    Attributes:
        cases: what is encoded.
        compare: embeddings of all cases by the baseline, and by another encoder.
        original: the original's encoder with the network's weights, out of a checkout.
    """

    cases: Sequence[HasImage]
    compare: Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor]], Agreement]
    original: Callable[[Path], Encoder]


def family_of(model: Encodes, plan: EncoderPlan) -> Family:
    """The family of a network, with the plan's number of images."""
    seed = plan.source.seed
    if isinstance(model, Sam3d):
        cubes = make_cube_cases(model, plan.images, seed)
        compared = partial(compare_cubes, model, cubes)
        return Family(cubes, compared, lambda path: OriginalCubeEncoder(path, model))
    cases = make_cases(model, plan.images, seed)
    original = partial(OriginalEncoder, model=model)
    return Family(cases, partial(compare, model, cases), original)


class ReferenceEncoder:
    """Our network as it is, layer by layer the original's arithmetic; held to golden numbers."""

    backend_name = "reference torch fp32"

    def __init__(self, model: Encodes) -> None:
        self._model = model

    @torch.inference_mode()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """As `lib.networks.backends.Encoder.encode`."""
        return self._model.encode(images)


class OtherEncoder:
    """The encoder of another network as it answers clicks; only its time is of interest.

    Args:
        source: the network.
        like: network whose images it gets, of the same size.
    """

    def __init__(self, source: NetworkSource, like: Encodes) -> None:
        model = source.load_any().to(like.blank().device).eval()
        self._encoder = make_encoder(model, "torch", "fp32")
        self.backend_name = other_name(source)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """As `lib.networks.backends.Encoder.encode`."""
        return self._encoder.encode(images)


def other_name(source: NetworkSource) -> str:
    """As reports name the encoder of another network."""
    return f"{source.architecture}, torch:fp32"


@dataclass(frozen=True)
class _Entrant:
    """An encoder that has embedded one image, and what that cost."""

    encoder: Encoder
    seconds: float
    memory: MemoryUse | None


class _Contest:
    """Encoders that take turns on the same images; the first one is the baseline.

    Args:
        family: the images, and how embeddings of them are compared.
    """

    def __init__(self, family: Family) -> None:
        self._family, self._cases = family, family.cases
        self._entrants: dict[str, _Entrant] = {}

    def add(self, name: str, make: Callable[[], Encoder]) -> None:
        """Prepare an encoder; what ``make`` raises is passed on."""
        meter, started = PeakMeter(), time.perf_counter()
        encoder = make()
        encoder.encode(self._cases[0].image).cpu()
        self._entrants[name] = _Entrant(encoder, time.perf_counter() - started, meter.read())

    def reports(self, rounds: int) -> dict[str, VariantReport]:
        """Let all encoders run, and compare each with the baseline."""
        times = self._measure(rounds)
        embeddings = {name: self._embed(e.encoder) for name, e in self._entrants.items()}
        first = next(iter(self._entrants))
        return {
            name: VariantReport(
                name=name,
                seconds_to_prepare=entrant.seconds,
                memory=entrant.memory,
                time=times[name],
                times_faster=times_faster(times[first], times[name]),
                agreement=None
                if isinstance(entrant.encoder, OtherEncoder)
                else self._family.compare(embeddings[first], embeddings[name]),
            )
            for name, entrant in self._entrants.items()
        }

    def _measure(self, rounds: int) -> dict[str, Summary]:
        """Times of one image; everybody has a turn in each round, so all share a busy minute."""
        seconds: dict[str, list[float]] = {name: [] for name in self._entrants}
        for number in range(rounds + 1):
            for name, entrant in self._entrants.items():
                for case in self._cases:
                    started = time.perf_counter()
                    entrant.encoder.encode(case.image).cpu()  # waits for a GPU
                    if number > 0:  # round 0 is for warming up
                        seconds[name].append(time.perf_counter() - started)
        return {name: summarise(values) for name, values in seconds.items()}

    def _embed(self, encoder: Encoder) -> list[torch.Tensor]:
        return [encoder.encode(case.image) for case in self._cases]


def run(plan: EncoderPlan, say: Say) -> EncoderReport:
    """Measure; ``say`` is told what happens.

    Raises:
        BenchmarkError: the checkout cannot be used.
        Samed2dError: the network or the device cannot be used.
    """
    model = plan.source.load_any().to(choose_device(plan.device)).eval()
    family = family_of(model, plan)
    contest = _Contest(family)
    baseline = ReferenceEncoder.backend_name
    if plan.upstream is None:
        contest.add(baseline, lambda: ReferenceEncoder(model))
    else:
        baseline, checkout = OriginalEncoder.backend_name, plan.upstream
        contest.add(baseline, lambda: family.original(checkout))
    missing: dict[str, VariantReport] = {}
    for name in plan.variants:
        say(f"preparing {name}")
        backend, _, precision = name.partition(":")
        try:
            contest.add(name, partial(make_encoder, model, backend, precision))
        except Exception as error:  # a backend that fails here must not end the others
            reason = str(getattr(error, "message", None) or repr(error))
            missing[name] = VariantReport(name, unavailable=reason)
            say(f"{name} is not available: {reason}")
    names = plan.variants
    if (other := plan.beside) is not None:
        say(f"preparing {other.architecture}")
        contest.add(other_name(other), lambda: OtherEncoder(other, model))
        names = (*names, other_name(other))
    say(f"{plan.rounds} rounds of {plan.images} images, all encoders in turn")
    reports = contest.reports(plan.rounds) | missing
    return EncoderReport(
        architecture=plan.source.architecture,
        weights=plan.source.description,
        device=model.blank().device.type,
        parameters=sum(p.numel() for p in model.image_encoder.parameters()),
        rounds=plan.rounds,
        images=plan.images,
        baseline=reports[baseline],
        variants=tuple(reports[name] for name in names),
    )

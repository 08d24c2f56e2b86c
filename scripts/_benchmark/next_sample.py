"""``benchmark.py next``: which case comes next among many, and how fast slices are scored."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import requests

from lib.learning.score_store import ScoreStore, scores_folder
from lib.learning.slice_score import SliceScore
from lib.networks import find_architecture
from lib.networks.weights import version_of
from scripts._benchmark.errors import BenchmarkError
from scripts._benchmark.network import NetworkSource
from scripts._benchmark.server import running_server
from scripts._benchmark.statistics import Summary, summarise

SHAPE = (32, 32, 10)
"""(I, J, K) of a case."""
SLICES = 5
"""Scored of each, the server's default."""
LABELLED_SHARE = 0.1
SETTLE_SECONDS = 1800.0
STRATEGIES = ("random", "uncertainty", "diversity", "sequential")
"""As clients ask for them; "random" is the server's default, hybrid."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class NextPlan:
    """What is to be measured.

    Attributes:
        source: the network.
        cases: in the datastore.
        scored: of them, that the server scores itself.
        requests: for each strategy.
        seed: of images and made-up scores.
    """

    source: NetworkSource
    cases: int
    scored: int
    requests: int
    seed: int = 0


@dataclass(frozen=True)
class NextReport:
    """Everything that was found.

    Attributes:
        architecture: of the network.
        weights: of the network.
        encoder: what encoded the slices.
        cases: in the datastore.
        labelled: of them.
        slices: scored of each case.
        scored: cases that the server scored itself.
        slices_per_second: while it works; reading the image, encoding and decoding.
        latency: of a request by strategy; every request is of another client and takes a case.
        first: seconds of the very first request, which fills the tables of the later ones.
    """

    architecture: str
    weights: str
    encoder: str
    cases: int
    labelled: int
    slices: int
    scored: int
    slices_per_second: float
    latency: dict[str, Summary]
    first: float


def run(plan: NextPlan, folder: Path, say: Say) -> NextReport:
    """Measure; ``say`` is told what happens.

    Args:
        plan: what.
        folder: empty, for images, scores and random weights.
        say: gets one line at a time.

    Raises:
        BenchmarkError: the server does not start, refuses, or does not come to an end.
    """
    studies, cache = folder / "studies", folder / "cache"
    weights = plan.source.file(folder)
    labelled = int(LABELLED_SHARE * (plan.cases - plan.scored))
    say(f"{plan.cases} cases of {' x '.join(map(str, SHAPE))} voxels")
    _write_cases(studies, plan, labelled)
    _fill_scores(scores_folder(cache, plan.source.architecture, str(studies)), plan, labelled)
    conf = {
        "architecture": plan.source.architecture,
        "checkpoint": str(weights),
        "cache_dir": str(cache),
        "backend": "torch",
        "score_budget": "1000000",
        "scored_slices": str(SLICES),
    }
    with running_server(studies, conf) as server:
        say(f"the server scores {plan.scored} of them")
        status = _wait_for_scores(server.url, plan)
        first, *_ = _ask(server.url, STRATEGIES[0], 1)
        latency = {}
        for strategy in STRATEGIES:
            say(f"{plan.requests} requests for {strategy}")
            latency[strategy] = summarise(_ask(server.url, strategy, plan.requests))
        model = requests.get(f"{server.url}/info/", timeout=60).json()["models"]["samed2d"]
    return NextReport(
        architecture=plan.source.architecture,
        weights=plan.source.description,
        encoder=str(model["encoder"]),
        cases=plan.cases,
        labelled=labelled,
        slices=SLICES,
        scored=plan.scored,
        slices_per_second=1 / max(float(status["seconds_per_slice"]), 1e-9),
        latency=latency,
        first=first,
    )


def _name(number: int) -> str:
    return f"case{number:05d}"


def _write_cases(studies: Path, plan: NextPlan, labelled: int) -> None:
    """Noise with a disc; the first ones are labelled."""
    rng = np.random.default_rng(plan.seed)
    labels = studies / "labels" / "final"
    labels.mkdir(parents=True)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for number in range(plan.cases):
        i, j, radius = rng.uniform((8, 8, 4), (24, 24, 9))
        disc = (np.hypot(rows - i, columns - j) < radius)[:, :, None]
        array = (rng.normal(0, 10, SHAPE) + 100 * disc).astype(np.int16)
        nib.save(nib.Nifti1Image(array, np.eye(4)), studies / f"{_name(number)}.nii")
        if number < labelled:
            label = np.broadcast_to(disc, SHAPE).astype(np.uint8)
            nib.save(nib.Nifti1Image(label, np.eye(4)), labels / f"{_name(number)}.nii")


def _fill_scores(folder: Path, plan: NextPlan, labelled: int) -> None:
    """Made-up scores for all cases but the last ones, as if the server had scored them."""
    rng = np.random.default_rng(plan.seed)
    version = version_of(plan.source.architecture, plan.source.file(folder.parent.parent.parent))
    width = find_architecture(plan.source.architecture).embedding_channels
    store = ScoreStore(folder)
    for number in range(plan.cases - plan.scored):
        known, image = number < labelled, _name(number)
        vectors = rng.normal(size=(SLICES, width)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        values = np.full(SLICES, np.nan) if known else rng.uniform(size=SLICES)
        rows = [
            SliceScore(image, 2 * k + 1, float(values[k]), vectors[k], version, version, known)
            for k in range(SLICES)
        ]
        store.put(image, rows)
    store.save(version)


def _wait_for_scores(url: str, plan: NextPlan) -> dict[str, Any]:
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        info = requests.get(f"{url}/info/", timeout=60).json()
        status = dict(info["strategies"]["random"]["scoring"])
        if status.get("images_failed"):
            raise BenchmarkError(f"images that cannot be scored: {status['failed']}")
        if status.get("doing") == "everything is scored":
            return status
        time.sleep(1)
    raise BenchmarkError(f"not all scored after {SETTLE_SECONDS:.0f} s: {status}")


def _ask(url: str, strategy: str, count: int) -> list[float]:
    """Seconds of each request."""
    seconds = []
    with requests.Session() as session:
        for number in range(count):
            body = {"client_id": f"annotator {number}"}
            started = time.perf_counter()
            answer = session.post(f"{url}/activelearning/{strategy}", json=body, timeout=60)
            seconds.append(time.perf_counter() - started)
            if not answer.ok:
                said = answer.text[:300]
                raise BenchmarkError(f"{strategy} answers {answer.status_code}: {said}")
            if "id" not in answer.json():
                raise BenchmarkError("more requests than cases: each takes one")
    return seconds

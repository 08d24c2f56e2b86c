"""One evaluation from its request to its results."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from lib.data.case_files import Case, CaseFile, LeftOut, files_digest, find_case_files
from lib.data.pool import LabelledImage
from lib.errors import ImageError
from lib.networks import AdapterSam, build_model
from lib.networks.backends import choose_device, make_encoder
from lib.networks.checkpoint import sha256_of
from lib.networks.weights import installed_weights
from lib.training.code_version import ROOT, code_version
from lib.training.evaluate import Interaction, Plan
from scripts._evaluation.contestants import Contestant, Task, enter
from scripts._evaluation.journal import open_journal
from scripts._evaluation.measure import measure
from scripts._evaluation.output import Results
from scripts._evaluation.rows import Row, Setting
from scripts._evaluation.summary import Counting, summarise

PROTOCOLS = ("noc", "paper")
EXAMPLES = 3
"""Targets shown of the best, the middle and the worst."""
KINDS = ("best", "middle", "worst")
PARTS = ("lib", "scripts/_evaluation")
"""Whose source results depend on."""


@dataclass(frozen=True)
class Request:
    """What is to be measured; see ``scripts/evaluate.py --help``.

    Attributes:
        most: clicks until the simulated user gives up, 0 where they are not counted.
        at_once: points of protocol paper together.
        settings: zooms and precisions of the network.
        every: only every so many targets.
        out: folder of the results.
    """

    data: Path
    model: str
    checkpoint: Path | None
    plan: Plan
    protocol: str
    most: int
    at_once: bool
    settings: tuple[Setting, ...]
    backend: str
    device: str
    every: int
    out: Path

    @property
    def counting(self) -> Counting:
        """What is counted."""
        clicks = max(self.plan.clicks, default=0)
        return Counting(self.plan.names, clicks, self.most)


@dataclass(frozen=True)
class Example:
    """A target shown in the report.

    Attributes:
        kind: "best", "middle" or "worst".
        row: what was measured.
        image: it lies on.
        found: the answers of the first setting.
    """

    kind: str
    row: Row
    image: LabelledImage
    found: Interaction


class Evaluation:
    """Measures a network on a folder.

    Raises:
        ImageError: a folder without cases.
        CheckpointError, OptionError: a network or a backend that cannot be used.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._program = source_digest()
        self._files = find_case_files(request.data)
        self._weights = request.checkpoint or installed_weights(request.model)
        self._device = choose_device(request.device)
        self._entrants = self._enter()

    def run(self) -> Results:
        """Measure what was not measured before.

        Raises:
            ImageError: not one target could be used.
            OSError: the folder of the results does not take files.
        """
        request = self._request
        journal = open_journal(request.out, self._depends_on())
        if journal.sentence:
            print(f"evaluate: {journal.sentence}", file=sys.stderr)
        try:
            measured = measure(self._files, self._entrants, journal, request.every)
        finally:
            journal.close()
        for item in measured.left_out:
            print(f"evaluate: left out: {item.name}: {item.reason}", file=sys.stderr)
        if not measured.rows:
            raise _nothing(request.data, measured.left_out)
        *settings, baseline = summarise(measured.rows, request.counting)
        names = request.plan.names
        return Results(self._facts(), names, tuple(settings), baseline, measured.left_out)

    def examples(self, results: Results) -> tuple[Example, ...]:
        """The best, middle and worst targets of the first setting, segmented once more."""
        chosen = choose_examples(results.settings[0].rows)
        wanted = {row.target.key: (kind, row) for kind, row in chosen}
        found = {}
        for file, case in self._cases({row.target.file for _, row in chosen}):
            keys = [f"{file.name}/{case.image.name}/{n}" for n in range(len(case.image.masks))]
            if wanted.keys().isdisjoint(keys):
                continue
            opened = self._entrants[0].open(case.image)
            for index, key in enumerate(keys):
                if key in wanted:
                    found[key] = Example(*wanted[key], case.image, opened.segment(index))
        return tuple(found[key] for key in wanted)

    def _cases(self, names: set[str]) -> Iterator[tuple[CaseFile, Case]]:
        for file in self._files:
            if file.name in names:
                for case in file.cases():
                    if isinstance(case, Case):
                        yield file, case

    def _enter(self) -> list[Contestant]:
        request = self._request
        model = self._model()
        task = Task(request.plan, request.most, request.at_once)

        return enter(
            request.settings,
            lambda precision: make_encoder(model, request.backend, precision),
            model,
            task,
            request.protocol,
        )

    def _model(self) -> AdapterSam:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # where there are no weights, the numbers are always the same
            model = build_model(self._request.model, self._weights)
        return model.to(self._device).eval()

    def _depends_on(self) -> Mapping[str, str]:
        """Everything that changes results."""
        request = self._request
        return {
            "data": files_digest(self._files, request.data),
            "weights": self._weights_sha256(),
            "model": request.model,
            "protocol": f"{request.protocol}, at once" if request.at_once else request.protocol,
            "prompts": ",".join(request.plan.names),
            "max-clicks": str(request.most),
            "settings": "; ".join(setting.name for setting in request.settings),
            "backend": request.backend,
            "device": self._device.type,
            "every": str(request.every),
            "program": self._program,
        }

    def _weights_sha256(self) -> str:
        return "untrained" if self._weights is None else sha256_of(self._weights)

    def _facts(self) -> dict[str, str]:
        request = self._request
        points = "at once" if request.at_once else "one after the other"
        return {
            "data": request.data.resolve().name,
            "protocol": request.protocol,
            "points": points if request.protocol == "paper" else "one after the other",
            "max_clicks": str(request.most),
            "model": request.model,
            "weights": "untrained" if self._weights is None else self._weights.name,
            "weights_sha256": self._weights_sha256(),
            "backend": request.backend,
            "device": self._device.type,
            "every": str(request.every),
            "code_version": code_version(),
        }


def choose_examples(rows: tuple[Row, ...]) -> list[tuple[str, Row]]:
    """The best, the middle and the worst by mean Dice over the prompts; no target twice."""
    ranked = sorted(rows, key=lambda row: (-row.mean_dice, row.target.key))
    if len(ranked) < 3 * EXAMPLES:
        best, rest = ranked[:1], ranked[1:]
        worst, middle = rest[-1:], rest[:-1][len(rest[:-1]) // 2 :][:1]
    else:
        begin = (len(ranked) - EXAMPLES) // 2
        best, worst = ranked[:EXAMPLES], ranked[-EXAMPLES:]
        middle = ranked[begin : begin + EXAMPLES]
    groups = zip(KINDS, (best, middle, worst), strict=True)
    return [(kind, row) for kind, group in groups for row in group]


def source_digest() -> str:
    """SHA-256 in hexadecimal of the source in `PARTS`."""
    digest = hashlib.sha256()
    for part in PARTS:
        for path in sorted((ROOT / part).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _nothing(folder: Path, left_out: tuple[LeftOut, ...]) -> ImageError:
    why = f"; the first thing left out: {left_out[0].reason}" if left_out else ""
    return ImageError(
        got=f"{folder}, in which no target could be used{why}",
        allowed="at least one image with an object",
        todo="correct the files",
    )

"""A faster encoder, prepared in the background while the first one answers.

What takes long (exporting, quantising, compiling) is done once per model version and kept on disk
by a process of its own, `scripts/prepare_encoder.py`: exporting holds Python's lock for seconds,
and quantising takes all cores for a minute, so it runs with the lowest priority.

Concurrency contract: one daemon thread per object does everything. ``status`` is one string,
replaced as a whole; the encoder is exchanged on the worker, between two pieces of work.
"""

from __future__ import annotations

import atexit
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from lib.errors import UnavailableError
from lib.inference.worker import Priority, PriorityWorker
from lib.networks.backends import Encoder, TorchEncoder
from lib.networks.encoder_network import Encodes
from lib.networks.openvino_encoder import OpenVinoEncoder
from lib.networks.plan import EncoderKind, EncoderPlan
from lib.networks.prepared import discard, prepared_path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "prepare_encoder.py"
ROUNDS = 3
"""Images that each encoder gets in a contest; its best time counts."""

EXIT_SECONDS = 20.0
"""So long the end of the server waits for a compiler, which cannot be interrupted."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """What an encoder is prepared from.

    Attributes:
        architecture, weights: of the network.
        version: of the encoder.
        cache: folder of all caches.
        changes: file of tensors that lie over the weights; None where there are none.
    """

    architecture: str
    weights: Path
    version: str
    cache: Path
    changes: Path | None = None


class Embedder(Protocol):
    """What this module needs of `SliceEmbedder` and `CubeEmbedder`."""

    encoder: Encoder
    also_good: tuple[str, ...]

    @property
    def model(self) -> Encodes:
        """The network, which has an empty input."""


class EncoderUpgrade:
    """Carries out the second half of an `EncoderPlan`.

    Args:
        plan: with something to do.
        make: prepares and loads an encoder; may take minutes, and raise.
        embedder: whose encoder is exchanged.
        worker: that calls the embedder.
    """

    def __init__(
        self,
        plan: EncoderPlan,
        make: Callable[[EncoderKind], Encoder],
        embedder: Embedder,
        worker: PriorityWorker,
    ) -> None:
        self._plan = plan
        self._make = make
        self._embedder = embedder
        self._worker = worker
        self._kind = plan.then or plan.first
        # What was encoded by it before, in an earlier run or by scripts/precompute.py, is used
        # while it is being loaded, and also where it turns out to be the slower one here.
        embedder.also_good = (self._kind.name,)
        self.status = f"{plan.first.name}, preparing {self._kind.name}"
        self._thread = threading.Thread(target=self._run, name="encoder-upgrade", daemon=True)
        self._thread.start()
        # Inside of a compiler when Python ends, it would take the process down with it.
        atexit.register(self.wait, EXIT_SECONDS)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until everything is decided; False where the time was too short."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        first = self._embedder.encoder
        try:
            encoder = self._make(self._kind)
            image = self._embedder.model.blank()
            # The first image of a new encoder is slower than all others.
            self._worker.run(Priority.AHEAD, lambda: encoder.encode(image))
            verdict = ""
            if self._plan.contest:
                mine, theirs = self._time(encoder, image), self._time(first, image)
                verdict = (
                    f" ({mine * 1e3:.0f} ms an image, {first.backend_name} {theirs * 1e3:.0f})"
                )
                if theirs <= mine:
                    self._finish(
                        f"{first.backend_name}, faster here than {self._kind.name}{verdict}"
                    )
                    return
            self._worker.run(Priority.AHEAD, lambda: self._exchange(encoder))
            self._finish(f"{encoder.backend_name}{verdict}")
        except Exception as error:
            # The first encoder goes on; nobody who clicks needs to know.
            logger.exception("%s could not be prepared", self._kind.name)
            self._finish(f"{first.backend_name}; {self._kind.name} failed: {error}"[:300])

    def _finish(self, status: str) -> None:
        self.status = status
        atexit.unregister(self.wait)
        logger.info("encoder: %s", status)

    def _exchange(self, encoder: Encoder) -> None:
        # Whoever clicked before keeps the embeddings, and so the masks, of the first encoder.
        self._embedder.also_good = (self._embedder.encoder.backend_name,)
        self._embedder.encoder = encoder

    def _time(self, encoder: Encoder, image: torch.Tensor) -> float:
        """Seconds for an image, at best; clicks go first."""

        def once() -> float:
            started = time.perf_counter()
            encoder.encode(image)
            return time.perf_counter() - started

        return min(self._worker.run(Priority.AHEAD, once) for _ in range(ROUNDS))


def begin_upgrade(
    plan: EncoderPlan,
    model: Encodes,
    source: Source | None,
    embedder: Embedder,
    worker: PriorityWorker,
) -> EncoderUpgrade | None:
    """Begin to prepare what the plan says; None where it says nothing, or there is no source.

    Args:
        plan: which encoder first, which then.
        model: the network, with the source's weights.
        source: of the encoder; None for weights that are in no file.
        embedder: whose encoder is exchanged.
        worker: that calls the embedder.
    """
    if plan.then is None or source is None:
        return None
    return EncoderUpgrade(plan, lambda kind: load_encoder(kind, model, source), embedder, worker)


def load_encoder(kind: EncoderKind, model: Encodes, source: Source) -> Encoder:
    """Prepare an encoder, unless that was done before, and load it.

    Raises:
        UnavailableError: it could not be prepared.
        RuntimeError: the prepared file cannot be used, also after it was made again.
    """
    if kind.backend != "openvino":
        return TorchEncoder(model, kind.precision, compiled=kind.backend == "compiled")
    path = prepared_path(source.cache, source.version, kind.precision)
    if path.is_file():
        try:
            return OpenVinoEncoder(path, kind.precision)
        except RuntimeError as error:
            logger.warning("%s is damaged and made again: %s", path, error)
            discard(path)
    _prepare_in_child(kind, source)
    return OpenVinoEncoder(path, kind.precision)


def _prepare_in_child(kind: EncoderKind, source: Source) -> None:
    command = [sys.executable, str(SCRIPT), "--architecture", source.architecture]
    command += ["--precision", kind.precision, "--cache-dir", str(source.cache), "--quiet"]
    command += ["--checkpoint", str(source.weights)]
    if source.changes is not None:
        command += ["--changes", str(source.changes)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as child:
        atexit.register(child.kill)
        output = child.communicate()[0].decode(errors="replace")
        atexit.unregister(child.kill)
    if child.returncode != 0:
        raise UnavailableError(
            got=f"status {child.returncode} of {SCRIPT.name} ({output.strip()[-400:]})",
            allowed="a prepared encoder",
            todo="run the script by hand and see what it says",
        )

"""A network that is loaded when it is first needed, and what to tell people about it.

Concurrency contract: ``_lock`` guards the one-time loading; whoever comes meanwhile waits and
gets the same object. Afterwards everything here is read only, and `SliceSegmenter` takes care of
itself (see there).
"""

from __future__ import annotations

import logging
import threading
from functools import cached_property

import torch

from lib.errors import Samed2dError
from lib.inference.ahead import AheadProgress, EncodeAhead
from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import ChainDecoder
from lib.inference.decoder import PromptDecoder
from lib.inference.embedder import SliceEmbedder
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.segmenter import SliceSegmenter
from lib.inference.worker import PriorityWorker
from lib.networks import build_model
from lib.networks.backends import check_backend, choose_device, make_encoder
from lib.networks.plan import AUTO, plan_encoder
from lib.networks.weights import version_of
from lib.options import AppOptions, default_cache_dir
from lib.server.encoder_upgrade import EncoderUpgrade, Source, load_encoder
from lib.server.models import NetworkChoice

MIB = 1 << 20
CHAIN_CACHE_BYTES = 64 * MIB
"""For the stages of prompts: 16 KiB each, so the last 4096 of all users."""

logger = logging.getLogger(__name__)


class ServedModel:
    """One network behind one or more tasks; the constructor is cheap.

    Args:
        choice: architecture and weight file.
        options: device, backend and caches.

    Raises:
        OptionError: a device or backend this machine does not have.
    """

    def __init__(self, choice: NetworkChoice, options: AppOptions) -> None:
        if AUTO not in (options.backend, options.precision):
            check_backend(options.backend, options.precision)
        self.choice = choice
        self.device = choose_device(options.device)
        self._options = options
        self._cache = options.cache_dir or default_cache_dir()
        self._lock = threading.Lock()
        self._segmenter: SliceSegmenter | None = None
        self._upgrade: EncoderUpgrade | None = None
        self.ahead: EncodeAhead | None = None

    @cached_property
    def version(self) -> str:
        """Architecture and weights in one word: "samed2d_t-0123456789ab"."""
        return version_of(self.choice.architecture, self.choice.weights)

    @property
    def device_name(self) -> str:
        """Where it runs: "cpu", or the name of the CUDA device."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return self.device.type

    @property
    def summary(self) -> str:
        """What is served, as one phrase for the annotator; cheap."""
        if self.choice.weights is None:
            return f"{self.choice.architecture} WITHOUT trained weights: its masks are noise"
        return f"{self.choice.architecture}, {self.choice.weights.name}, on {self.device.type}"

    @property
    def encoder_status(self) -> str:
        """What encodes images, and what is being prepared: "torch fp32, preparing ..."."""
        if self._upgrade is not None:
            return self._upgrade.status
        segmenter = self._segmenter
        return "not loaded yet" if segmenter is None else segmenter.embedder.encoder.backend_name

    def ahead_progress(self) -> tuple[AheadProgress, ...]:
        """How far the volumes are that somebody looks at."""
        return () if self.ahead is None else self.ahead.progress()

    def warm_up(self) -> None:
        """Load the network in the background, so that the first click need not."""
        threading.Thread(target=self._load_quietly, name="warm-up", daemon=True).start()

    def segmenter(self) -> SliceSegmenter:
        """The network, ready to answer; the first call loads it.

        Raises:
            CheckpointError: the weight file cannot be used.
            OptionError: a backend that cannot run here.
        """
        with self._lock:
            if self._segmenter is None:
                self._segmenter = self._load()
            return self._segmenter

    def _load(self) -> SliceSegmenter:
        plan = plan_encoder(self._options.backend, self._options.precision, self.device.type)
        model = build_model(self.choice.architecture, self.choice.weights)
        model = model.to(self.device).eval()
        worker = PriorityWorker()
        encoder = make_encoder(model, plan.first.backend, plan.first.precision)
        embedder = SliceEmbedder(model, encoder, self._store(), self.version)
        decoder = PromptDecoder(model, self.device)
        chains = ChainDecoder(decoder, ByteBoundedCache(CHAIN_CACHE_BYTES))
        weights = self.choice.weights
        if plan.then is not None and weights is not None:
            source = Source(self.choice.architecture, weights, self.version, self._cache)
            self._upgrade = EncoderUpgrade(
                plan, lambda kind: load_encoder(kind, model, source), embedder, worker
            )
        if self._options.encode_ahead == "on":
            self.ahead = EncodeAhead(embedder, worker, ready=self._is_settled)
        return SliceSegmenter(embedder, decoder, chains, worker)

    def wait_until_settled(self) -> None:
        """Wait for the faster encoder, if one is being prepared."""
        self.segmenter()
        if self._upgrade is not None:
            self._upgrade.wait()

    def _is_settled(self) -> bool:
        """Whether no faster encoder is about to come: until then it gets the processor."""
        return self._upgrade is None or self._upgrade.wait(0)

    def _store(self) -> EmbeddingStore:
        disk_bytes = self._options.embedding_disk_mb * MIB
        # Random weights are other ones after each start, under the same name.
        kept = disk_bytes > 0 and self.choice.weights is not None
        return EmbeddingStore(
            self._options.embedding_cache_mb * MIB,
            folder=self._cache / "embeddings" if kept else None,
            disk_bytes=disk_bytes,
        )

    def _load_quietly(self) -> None:
        try:
            self.segmenter()
        except Samed2dError as error:
            # The first click meets the same error and gets it as its answer.
            logger.error("%s could not be loaded: %s", self.choice.architecture, error.message)
        except Exception:
            logger.exception("%s could not be loaded", self.choice.architecture)

"""A network that is loaded when it is first needed, and what to tell people about it.

Concurrency contract: ``_lock`` guards the one-time loading; whoever comes meanwhile waits and
gets the same object. Afterwards everything here is read only, and `SliceSegmenter` takes care of
itself (see there).
"""

from __future__ import annotations

import threading
from functools import cached_property

import torch

from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import ChainDecoder
from lib.inference.decoder import Embedding, PromptDecoder
from lib.inference.embedder import SliceEmbedder
from lib.inference.segmenter import SliceSegmenter
from lib.inference.worker import PriorityWorker
from lib.networks import build_model
from lib.networks.backends import choose_device, make_encoder
from lib.networks.checkpoint import sha256_of
from lib.options import AppOptions
from lib.server.models import NetworkChoice

MIB = 1 << 20
CHAIN_CACHE_BYTES = 64 * MIB
"""For the stages of prompts: 16 KiB each, so the last 4096 of all users."""
VERSION_DIGITS = 12
"""Hexadecimal digits of the weights' SHA-256 that make a version: no two files meet by chance."""


class ServedModel:
    """One network behind one or more tasks; the constructor is cheap.

    Args:
        choice: architecture and weight file.
        options: device and cache size.

    Raises:
        OptionError: a device this machine does not have.
    """

    def __init__(self, choice: NetworkChoice, options: AppOptions) -> None:
        self.choice = choice
        self.device = choose_device(options.device)
        self._embeddings: ByteBoundedCache[Embedding] = ByteBoundedCache(
            options.embedding_cache_mb * MIB
        )
        self._lock = threading.Lock()
        self._segmenter: SliceSegmenter | None = None

    @cached_property
    def version(self) -> str:
        """Architecture and weights in one word: "samed2d_t-0123456789ab"."""
        if self.choice.weights is None:
            return f"{self.choice.architecture}-untrained"
        return f"{self.choice.architecture}-{sha256_of(self.choice.weights)[:VERSION_DIGITS]}"

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

    def segmenter(self) -> SliceSegmenter:
        """The network, ready to answer; the first call loads it.

        Raises:
            CheckpointError: the weight file cannot be used.
        """
        with self._lock:
            if self._segmenter is None:
                model = build_model(self.choice.architecture, self.choice.weights)
                model = model.to(self.device).eval()
                encoder = make_encoder(model, "torch", "fp32")
                embedder = SliceEmbedder(model, encoder, self._embeddings, self.version)
                decoder = PromptDecoder(model, self.device)
                chains = ChainDecoder(decoder, ByteBoundedCache(CHAIN_CACHE_BYTES))
                self._segmenter = SliceSegmenter(embedder, decoder, chains, PriorityWorker())
            return self._segmenter

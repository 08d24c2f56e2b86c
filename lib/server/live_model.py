"""One version of a network, ready to answer, and how it is made beside the one before it.

A version that encodes images like the one before takes over its encoder with all that belongs to
it: the embeddings, the faster encoder and the volumes that are being encoded. So what usually
changes, the decoder, is exchanged in a moment.

Concurrency contract: a `LiveModel` never changes, and its parts take care of themselves (see
there). All live models of one network share one worker and one store of embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch

from lib.inference.ahead import AheadProgress, EncodeAhead
from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import ChainDecoder
from lib.inference.decoder import PromptDecoder
from lib.inference.embedder import SliceEmbedder
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.segmenter import SliceSegmenter
from lib.inference.worker import PriorityWorker
from lib.networks import AdapterSam, build_model
from lib.networks.backends import Encoder, make_encoder
from lib.networks.plan import plan_encoder
from lib.networks.slab_encoder import SlabEncoder
from lib.networks.weights import version_of
from lib.options import AppOptions
from lib.server.encoder_upgrade import EncoderUpgrade, begin_upgrade
from lib.server.live import Live, Wanted
from lib.server.models import NetworkChoice
from lib.training.registry import Version, apply_version

MIB = 1 << 20
CHAIN_CACHE_BYTES = 64 * MIB
"""For the stages of prompts: 16 KiB each, so the last 4096 of all users."""


@dataclass(frozen=True)
class EncoderSide:
    """What turns images into embeddings.

    Attributes:
        embedder: of images.
        upgrade: to a faster encoder, or None.
        ahead: encodes the other slices of volumes, or None.
    """

    embedder: SliceEmbedder
    upgrade: EncoderUpgrade | None
    ahead: EncodeAhead | None

    @property
    def status(self) -> str:
        """What encodes images, and what is being prepared: "torch fp32, preparing ..."."""
        if self.upgrade is not None:
            return self.upgrade.status
        return self.embedder.encoder.backend_name

    def wait_until_settled(self) -> None:
        """Wait for the faster encoder, if one is being prepared."""
        if self.upgrade is not None:
            self.upgrade.wait()


@dataclass(frozen=True)
class LiveModel(Live):
    """One version of a network of slices.

    Attributes:
        segmenter: answers.
        encoder: what its embeddings come from.
        version: that was published; None for the base weights.
    """

    segmenter: SliceSegmenter
    encoder: EncoderSide
    version: Version | None

    @property
    def model_version(self) -> str:
        """Architecture, base weights and version in one word."""
        return self.segmenter.model_version

    @property
    def encoder_status(self) -> str:
        """What encodes images, and what is being prepared."""
        return self.encoder.status

    def wait_until_settled(self) -> None:
        """Wait for the faster encoder, if one is being prepared."""
        self.encoder.wait_until_settled()

    def retire(self, following: Live) -> None:
        """End encoding ahead, unless the next one goes on with it."""
        goes_on = isinstance(following, LiveModel) and following.ahead is self.ahead
        if self.ahead is not None and not goes_on:
            self.ahead.close()

    @property
    def ahead(self) -> EncodeAhead | None:
        """Encodes the other slices of volumes, or None."""
        return self.encoder.ahead

    def ahead_progress(self) -> tuple[AheadProgress, ...]:
        """How far the volumes are that somebody looks at."""
        return () if self.ahead is None else self.ahead.progress()


class LiveModelMaker:
    """Makes live models of one network; the constructor starts the thread they share.

    Args:
        choice: architecture and base weights.
        options: backend and caches.
        device: where it runs.
        cache: folder of all caches.
    """

    def __init__(
        self, choice: NetworkChoice, options: AppOptions, device: torch.device, cache: Path
    ) -> None:
        self._choice, self._options, self._device, self._cache = choice, options, device, cache
        self._worker = PriorityWorker()
        self._store = self._make_store()

    @cached_property
    def _base_version(self) -> str:
        return version_of(self._choice.architecture, self._choice.weights)

    def make(self, version: Version | None, before: LiveModel | None = None) -> LiveModel:
        """Load a version. Dear; whatever answers meanwhile is not disturbed.

        Args:
            version: to be loaded; None for the base weights.
            before: what answers until now.

        Raises:
            CheckpointError: base weights or version cannot be used.
            OptionError: a backend that cannot run here.
        """
        wanted = Wanted(self._choice, self._base_version, version)
        model = build_model(self._choice.architecture, self._choice.weights)
        if version is not None:
            apply_version(model, version)
        encoder = None if before is None else before.encoder
        if encoder is not None and encoder.embedder.encoder_version == wanted.encoder_version:
            # The same numbers; one of the two copies can go.
            model.image_encoder = encoder.embedder.model.image_encoder
            model = model.to(self._device).eval()
        else:
            model = model.to(self._device).eval()
            encoder = self._encoder_side(model, wanted)
        decoder = PromptDecoder(model, self._device)
        chains = ChainDecoder(decoder, ByteBoundedCache(CHAIN_CACHE_BYTES))
        segmenter = SliceSegmenter(
            encoder.embedder, decoder, chains, self._worker, wanted.model_version
        )
        return LiveModel(segmenter, encoder, version)

    def _encoder_side(self, model: AdapterSam, wanted: Wanted) -> EncoderSide:
        plan = plan_encoder(self._options.backend, self._options.precision, self._device.type)
        slab, source = self._choice.slab, wanted.encoder_source(self._cache)
        encoder: Encoder
        if slab > 1:
            encoder, source = SlabEncoder(model, slab), None
        else:
            encoder = make_encoder(model, plan.first.backend, plan.first.precision)
        embedder = SliceEmbedder(model, encoder, self._store, wanted.encoder_version)
        upgrade, ahead = begin_upgrade(plan, model, source, embedder, self._worker), None
        if self._options.encode_ahead == "on":
            # Until the faster encoder is there, it gets the processor.
            settled = _at_once if upgrade is None else partial(upgrade.wait, 0)
            ahead = EncodeAhead(embedder, self._worker, ready=settled)
        return EncoderSide(embedder, upgrade, ahead)

    def _make_store(self) -> EmbeddingStore:
        disk_bytes = self._options.embedding_disk_mb * MIB
        # Random weights are other ones after each start, under the same name.
        kept = disk_bytes > 0 and self._choice.weights is not None
        return EmbeddingStore(
            self._options.embedding_cache_mb * MIB,
            folder=self._cache / "embeddings" if kept else None,
            disk_bytes=disk_bytes,
        )


def _at_once() -> bool:
    return True

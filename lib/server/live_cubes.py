"""One version of a network of volumes, ready to answer; see `lib.server.live_model`.

Concurrency contract: a `LiveCubes` never changes, and its parts take care of themselves (see
there). All versions of one network share one worker and one cache of embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from lib.inference.cache import ByteBoundedCache
from lib.inference.cube_network import CubeAnswer, CubeEmbedder, CubeNetwork
from lib.inference.cube_segmenter import CubeSegmenter
from lib.inference.worker import PriorityWorker
from lib.networks import Sam3d, build_model3d
from lib.networks.backends import make_encoder
from lib.networks.plan import AUTO, plan_encoder
from lib.networks.weights import version_of
from lib.options import AppOptions
from lib.server.encoder_upgrade import EncoderUpgrade, begin_upgrade
from lib.server.live import Live, Wanted
from lib.server.models import NetworkChoice
from lib.training.registry import Version, apply_version

MIB = 1 << 20
ANSWER_CACHE_BYTES = 64 * MIB
"""For the stages of clicks: 128 KiB each, so the last 512 of all users."""


@dataclass(frozen=True)
class LiveCubes(Live):
    """One version of a network of volumes.

    Attributes:
        segmenter: answers.
        upgrade: to a faster encoder, or None.
        version: that was published; None for the base weights.
    """

    segmenter: CubeSegmenter
    upgrade: EncoderUpgrade | None
    version: Version | None

    @property
    def model_version(self) -> str:
        """Architecture, base weights and version in one word."""
        return self.segmenter.model_version

    @property
    def encoder_status(self) -> str:
        """What encodes cubes, and what is being prepared."""
        if self.upgrade is not None:
            return self.upgrade.status
        return self.segmenter.network.embedder.encoder.backend_name

    def wait_until_settled(self) -> None:
        """Wait for the faster encoder, if one is being prepared."""
        if self.upgrade is not None:
            self.upgrade.wait()

    def retire(self, following: Live) -> None:
        """Nothing to give back: no cube is encoded ahead of a click."""


class LiveCubesMaker:
    """Makes live networks of volumes; the constructor starts the thread they share.

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
        self._worker = PriorityWorker("volumes")
        self._embeddings: ByteBoundedCache[torch.Tensor] = ByteBoundedCache(
            options.embedding_cache_mb * MIB
        )

    @cached_property
    def _base_version(self) -> str:
        return version_of(self._choice.architecture, self._choice.weights)

    def make(self, version: Version | None, before: LiveCubes | None = None) -> LiveCubes:
        """As `lib.server.live.Maker`."""
        wanted = Wanted(self._choice, self._base_version, version)
        model = build_model3d(self._choice.architecture, self._choice.weights)
        if version is not None:
            apply_version(model, version)
        embedder = None if before is None else before.segmenter.network.embedder
        if (
            before is not None
            and embedder is not None
            and (embedder.encoder_version == wanted.encoder_version)
        ):
            # The same numbers; one of the two copies can go.
            model.image_encoder = embedder.model.image_encoder
            model, upgrade = model.to(self._device).eval(), before.upgrade
        else:
            model = model.to(self._device).eval()
            embedder, upgrade = self._encoder(model, wanted)
        answers: ByteBoundedCache[CubeAnswer] = ByteBoundedCache(ANSWER_CACHE_BYTES)
        network = CubeNetwork(model, embedder, answers)
        segmenter = CubeSegmenter(network, self._worker, wanted.model_version)
        return LiveCubes(segmenter, upgrade, version)

    def _encoder(self, model: Sam3d, wanted: Wanted) -> tuple[CubeEmbedder, EncoderUpgrade | None]:
        # 8 bit is for slices; whoever asked for it gets the fastest that volumes have.
        precision = AUTO if self._options.precision == "int8" else self._options.precision
        plan = plan_encoder(self._options.backend, precision, self._device.type)
        encoder = make_encoder(model, plan.first.backend, plan.first.precision)
        embedder = CubeEmbedder(model, encoder, wanted.encoder_version, self._embeddings)
        source = wanted.encoder_source(self._cache)
        return embedder, begin_upgrade(plan, model, source, embedder, self._worker)

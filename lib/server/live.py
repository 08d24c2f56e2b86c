"""What answers for a network now, whatever family it is of.

Concurrency contract: a live network never changes, and its parts take care of themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lib.inference.ahead import AheadProgress
from lib.server.encoder_upgrade import Source
from lib.server.models import NetworkChoice
from lib.training.registry import Version


class Live(ABC):
    """One version of a network; a request uses one of them from beginning to end.

    Attributes:
        version: that was published; None for the base weights.
    """

    version: Version | None

    @property
    @abstractmethod
    def model_version(self) -> str:
        """Architecture, base weights and version in one word."""

    @property
    @abstractmethod
    def encoder_status(self) -> str:
        """What encodes, and what is being prepared: "torch fp32, preparing ..."."""

    @abstractmethod
    def wait_until_settled(self) -> None:
        """Wait for the faster encoder, if one is being prepared."""

    @abstractmethod
    def retire(self, following: Live) -> None:
        """Give back what the next version does not use."""

    def ahead_progress(self) -> tuple[AheadProgress, ...]:
        """How far the volumes are that somebody looks at."""
        return ()

    def version_facts(self) -> dict[str, Any] | None:
        """What ``/info`` says of the version; None for the base weights."""
        if self.version is None:
            return None
        manifest = self.version.manifest
        return {
            "name": manifest.name,
            "created": manifest.created,
            "trained": manifest.trained,
            "recipe": manifest.recipe,
            "images": manifest.n_images,
            "metrics": {prompt: dict(dice) for prompt, dice in manifest.metrics.items()},
        }


@dataclass(frozen=True)
class Wanted:
    """Which version of which network is to be made live.

    Attributes:
        choice: architecture and base weights.
        base_version: both in one word.
        version: that was published; None for the base weights.
    """

    choice: NetworkChoice
    base_version: str
    version: Version | None

    @property
    def model_version(self) -> str:
        """Architecture, base weights and version in one word."""
        return self.base_version if self.version is None else self.version.model_version

    @property
    def encoder_version(self) -> str:
        """The same of the encoder, which most versions share with the one before."""
        return self.base_version if self.version is None else self.version.encoder_version

    def encoder_source(self, cache: Path) -> Source | None:
        """What a faster encoder is prepared from; None for random weights.

        Args:
            cache: folder of all caches.
        """
        if self.choice.weights is None:
            return None
        changes = None
        if self.version is not None and self.version.manifest.encoder_changed:
            changes = self.version.weights
        return Source(
            self.choice.architecture, self.choice.weights, self.encoder_version, cache, changes
        )


AnyLive = TypeVar("AnyLive", bound=Live)


class Maker(Protocol[AnyLive]):
    """Makes live networks of one family."""

    def make(self, version: Version | None, before: AnyLive | None = None) -> AnyLive:
        """Load a version. Dear; whatever answers meanwhile is not disturbed.

        Args:
            version: to be loaded; None for the base weights.
            before: what answers until now.

        Raises:
            CheckpointError: base weights or version cannot be used.
            OptionError: a backend that cannot run here.
        """

"""What answers for a network now, whatever family it is of.

Concurrency contract: a live network never changes, and its parts take care of themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol, TypeVar

from lib.inference.ahead import AheadProgress
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

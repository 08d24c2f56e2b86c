"""Whether a version of the network that can serve is there, seen from outside of the server."""

from __future__ import annotations

from pathlib import Path

from lib.errors import CheckpointError
from lib.networks import build_model, installed_weights
from lib.training.registry import BASE, Registry, apply_version


class Serving:
    """The registry of a server whose network has installed weights.

    Args:
        folder: of its registries.
        architecture: of the network.
    """

    def __init__(self, folder: Path, architecture: str) -> None:
        weights = installed_weights(architecture)
        if weights is None:
            raise CheckpointError(
                got=f"no weights of {architecture}", todo="run scripts/get_weights.py"
            )
        self._registry = Registry(folder, architecture, weights)
        self._model = build_model(architecture, weights)

    def check(self) -> str:
        """Load all that a server would, and every other version; the name of what serves.

        Raises:
            CheckpointError: what was published cannot be loaded, or is not what was chosen.
        """
        versions = self._registry.versions()
        for version in versions:
            apply_version(self._model, version)
        serving = self._registry.serving()
        name = BASE if serving is None else serving.name
        if serving is not None and serving.name not in {one.name for one in versions}:
            apply_version(self._model, serving)  # published in between
        wanted = self._registry.wanted()
        if name != wanted and name != self._registry.wanted():
            raise CheckpointError(got=f"{name} serves, and {wanted} was chosen")
        return name

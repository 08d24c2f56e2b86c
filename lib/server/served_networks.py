"""The network behind a model's name in an address.

Concurrency contract: nothing is shared; the host's table of tasks is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from lib.errors import NotFoundError
from lib.server.requests import MAX_TEXT
from lib.server.served_model import ServedNetwork


class App(Protocol):
    """What is needed of the host's MONAILabelApp."""

    _infers: Mapping[str, Any]


def served_network(app: App, model: str) -> ServedNetwork[Any]:
    """The network that answers for a model.

    Raises:
        NotFoundError: no such model, or one without a network.
    """
    networks: dict[str, ServedNetwork[Any]] = {
        name: task.model
        for name, task in app._infers.items()
        if isinstance(getattr(task, "model", None), ServedNetwork)
    }
    if model not in networks:
        raise NotFoundError(
            got=f"model {model[:MAX_TEXT]!r}", allowed=", ".join(networks), todo="use one of these"
        )
    return networks[model]

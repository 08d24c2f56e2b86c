"""``/model_version/{model}``: which versions of a network there are, which one answers, going back.

Training publishes versions by itself; taking one back is for those who train. Where people sign in
with keys, that are trainers (`lib.server.roles`); in a realm the host's administrators.

Concurrency contract: the registry has its own lock between processes. The network follows the
registry by itself, with the next request that uses it.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance

from lib.errors import NotFoundError, RequestError
from lib.server.audit import record
from lib.server.requests import MAX_TEXT
from lib.server.served_networks import served_network
from lib.training.registry import BASE, Registry

ADDRESS = "/model_version/{model}"
PREVIOUS = "previous"
"""Name of the version that served before the present one."""

AnyUser = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
Administrator = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))]


def serve_versions(server: FastAPI) -> None:
    """Add the routes; may be called again."""
    if any(getattr(route, "endpoint", None) is answer_versions for route in server.routes):
        return
    server.add_api_route(ADDRESS, answer_versions, methods=["GET"], summary="Versions of a model")
    server.add_api_route(
        ADDRESS, answer_choice, methods=["POST"], summary="Have another version answer"
    )


def answer_versions(model: str, user: AnyUser) -> dict[str, Any]:
    """Names of all versions, the one that answers, and whether this user may choose another.

    Raises:
        NotFoundError: no such model.
    """
    registry = _registry(model)
    if registry is None:
        return {"serving": BASE, "versions": [], "may_roll_back": False}
    serving = registry.wanted()
    admin = settings.MONAI_LABEL_AUTH_ROLE_ADMIN in user.roles
    return {
        "serving": serving,
        "versions": [version.manifest.name for version in registry.versions()],
        "may_roll_back": admin and serving != BASE,
    }


def answer_choice(model: str, choice: dict[str, Any], user: Administrator) -> dict[str, Any]:
    """Have a version answer: ``{"version": "previous"}``, or a name, or "base".

    Raises:
        NotFoundError: no such model or version.
        RequestError: another body.
        CheckpointError: the version is damaged; what answered goes on answering.
    """
    name = choice.get("version")
    if set(choice) != {"version"} or not isinstance(name, str):
        raise RequestError(
            got=f"a body with the keys {', '.join(sorted(map(str, choice)))[:MAX_TEXT] or 'none'}",
            allowed=f'{{"version": "{PREVIOUS}"}}, the name of a version, or "{BASE}"',
            todo="send the version alone",
        )
    registry = _registry(model)
    if registry is None:
        raise NotFoundError(
            got=f"version {name[:MAX_TEXT]!r} of a network without trained weights",
            todo="install weights with scripts/get_weights.py and train it",
        )
    version = registry.roll_back(None if name == PREVIOUS else name)
    serving = BASE if version is None else version.manifest.name
    record("version chosen", model=model, version=serving)
    return {"serving": serving}


def _registry(model: str) -> Registry | None:
    """The versions of the network behind a model; None where it has no weights."""
    return served_network(app_instance(), model).registry

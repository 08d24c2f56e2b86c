"""``/volume_job/{client_id}``: how far a client's request for a volume is, and an end to it.

Concurrency contract: see `lib.server.volume_jobs`.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.utils.app import app_instance

from lib.errors import NotFoundError
from lib.server.requests import MAX_TEXT
from lib.server.served_networks import App
from lib.server.volume_jobs import VolumeJob, VolumeJobs

ADDRESS = "/volume_job/{client_id}"

AnyUser = Annotated[object, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]


def serve_volume_jobs(server: FastAPI) -> None:
    """Add the routes; may be called again."""
    if any(getattr(route, "endpoint", None) is answer_progress for route in server.routes):
        return
    server.add_api_route(
        ADDRESS, answer_progress, methods=["GET"], summary="How far a volume request is"
    )
    server.add_api_route(ADDRESS, answer_cancel, methods=["DELETE"], summary="End a volume request")


def answer_progress(client_id: str, user: AnyUser) -> dict[str, Any]:
    """Slices that are answered, and how many the volume has.

    Raises:
        NotFoundError: nothing of this client is under way.
    """
    progress = _find(client_id).progress()
    return {"slices": list(progress.slices), "n_slices": progress.n_slices}


def answer_cancel(client_id: str, user: AnyUser) -> dict[str, Any]:
    """Have the request answered with 409, before its next slice.

    Raises:
        NotFoundError: nothing of this client is under way.
    """
    _find(client_id).cancelled.set()
    return {}


def _find(client: str) -> VolumeJob:
    app: App = app_instance()
    for task in app._infers.values():
        jobs = getattr(task, "jobs", None)
        job = jobs.find(client) if isinstance(jobs, VolumeJobs) else None
        if job is not None:
            return job
    raise NotFoundError(
        got=f"client {client[:MAX_TEXT]!r}, of whom no request for a volume is under way",
        allowed="the client_id of a request to samed2d_volume that is not answered yet",
    )

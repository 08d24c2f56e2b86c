"""``/health``, ``/ready`` and ``/metrics``, and what counts for them.

``/health`` is answered by a server that lives, ``/ready`` by one that can segment at once,
``/metrics`` in the format of Prometheus to whoever has a key.

Concurrency contract: see `lib.server.metrics`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks.utils import processes
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.errors import BusyError
from lib.server.guard import ADDRESS_KEY
from lib.server.metrics import (
    CONTENT_TYPE,
    EMBEDDINGS,
    INFER_SECONDS,
    REQUEST_SECONDS,
    REQUESTS,
    Gauge,
    Metrics,
)
from lib.server.running import running_server
from lib.server.served_model import ServedNetwork

METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"})


class Watch:
    """Counts answers, as the outermost ASGI middleware.

    Args:
        app: what is behind it.
        metrics: where they are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, and count how it was answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = 500, time.perf_counter()

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            # Names that clients choose would make as many figures.
            method = scope["method"] if scope["method"] in METHODS else "other"
            address = str(scope.get(ADDRESS_KEY, "none"))
            self._metrics.count(REQUESTS, method=method, address=address, status=str(status))
            self._metrics.observe(REQUEST_SECONDS, time.perf_counter() - began, address=address)


def note_segmentation(facts: Mapping[str, Any]) -> None:
    """Count an answer of a model, by the facts that go with it; nothing where no server runs."""
    server = running_server()
    metrics = None if server is None else getattr(server.state, "metrics", None)
    if metrics is None:
        return
    model = str(facts.get("model", ""))
    for stage, seconds in dict(facts.get("latencies") or {}).items():
        metrics.observe(INFER_SECONDS, float(seconds), model=model, stage=str(stage))
    if "encoded_before" in facts:
        metrics.count(EMBEDDINGS, cached=str(bool(facts["encoded_before"])).lower())


def serve_watch(server: FastAPI) -> None:
    """Add the routes; may be called again."""
    if any(getattr(route, "endpoint", None) is answer_health for route in server.routes):
        return
    server.add_api_route("/health", answer_health, summary="Whether the server lives")
    server.add_api_route("/ready", answer_ready, summary="Whether it can segment at once")
    server.add_api_route("/metrics", answer_metrics, summary="Figures for Prometheus")


async def answer_health() -> dict[str, str]:
    """In the event loop: where that is stuck, nothing is answered."""
    return {"status": "ok"}


async def answer_ready() -> dict[str, Any]:
    """Which models can be asked.

    Raises:
        BusyError: a network is not loaded yet, or cannot be.
    """
    models = dict(_models())
    missing = [name for name, model in models.items() if model.loaded is None]
    if missing:
        raise BusyError(
            got=f"a question while {', '.join(missing)} cannot answer",
            allowed="questions when the network is loaded",
            todo="wait; if it stays so, look for the reason in the server's log",
        )
    return {"status": "ready", "models": {name: model.version for name, model in models.items()}}


async def answer_metrics(request: Request) -> Response:
    """All figures."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(_gauges(request.app)), media_type=CONTENT_TYPE)


def _models() -> Iterator[tuple[str, ServedNetwork[Any]]]:
    for name, task in app_instance()._infers.items():
        if isinstance(getattr(task, "model", None), ServedNetwork):
            yield name, task.model


def _gauges(server: FastAPI) -> Iterator[Gauge]:
    queue = server.state.queue
    yield Gauge("samed2d_requests_running", "Long requests that are worked on.", queue.running)
    yield Gauge("samed2d_requests_waiting", "Long requests that wait.", queue.waiting)
    yield Gauge("samed2d_requests_refused", "Long requests without a place.", queue.refused)
    training = len(processes("train"))
    yield Gauge("samed2d_trainings_running", "Trainings that were started here.", training)
    for name, model in _models():
        labels = (("model", name), ("version", model.version))
        yield Gauge("samed2d_model_info", "Which version answers.", 1, labels)
        ready = int(model.loaded is not None)
        yield Gauge("samed2d_model_loaded", "Whether it is loaded.", ready, labels[:1])
    statm = Path("/proc/self/statm")
    if statm.exists():
        pages = int(statm.read_text().split()[1])
        resident = pages * os.sysconf("SC_PAGE_SIZE")
        yield Gauge("samed2d_memory_bytes", "Memory of the server's process.", resident)

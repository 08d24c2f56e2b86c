"""A slow click keeps nobody else waiting."""

from __future__ import annotations

import inspect
import threading

import monailabel.endpoints.infer
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lib.server import threaded_infer
from lib.server.threaded_infer import answer_in_thread, thread_infer


@pytest.fixture
def application() -> FastAPI:
    """The host's own router in an application with one other page."""
    thread_infer()
    application = FastAPI()
    application.include_router(monailabel.endpoints.infer.router)
    application.add_api_route("/other", lambda: "here")
    return application


def test_other_requests_are_answered_meanwhile(
    application: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(**values: object) -> dict[str, object]:
        begun.set()
        assert go_on.wait(20)
        return {"model": values["model"], "params": values["params"]}

    monkeypatch.setattr(threaded_infer, "run_inference", slow)
    answers = []
    with TestClient(application) as client:

        def click() -> None:
            answers.append(client.post("/infer/m?image=i", data={"params": '{"slice": 3}'}))

        thread = threading.Thread(target=click)
        thread.start()
        assert begun.wait(20)
        assert client.get("/other").json() == "here"
        go_on.set()
        thread.join(20)
    assert answers[0].json() == {"model": "m", "params": '{"slice": 3}'}


def test_the_route_takes_what_the_hosts_took() -> None:
    thread_infer()
    thread_infer()
    host = inspect.signature(monailabel.endpoints.infer.api_run_inference)
    assert inspect.signature(answer_in_thread) == host
    assert "user" in host.parameters  # its default is the check of the sign-in
    routes = monailabel.endpoints.infer.router.routes
    assert [(r.path, r.methods) for r in routes] == [("/infer/{model}", {"POST"})]


def test_a_host_without_the_route_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monailabel.endpoints.infer.router, "routes", [])
    with pytest.raises(LookupError, match="api_run_inference"):
        thread_infer()

"""Sizes and places, in an event loop of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from lib.server.caller import CALLER, Caller
from lib.server.guard import ADDRESS_KEY
from lib.server.limits import HEAVY, LoadLimit, Queue, SizeLimit
from lib.server.roles import ROLES, Role

INFER = "/infer/{model}"


async def length(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers how many bytes came."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


def client_of(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")  # type: ignore[arg-type]


def post(app: ASGIApp, **options: object) -> httpx.Response:
    async def one() -> httpx.Response:
        async with client_of(app) as client:
            return await client.post("/", **options)  # type: ignore[arg-type]

    return asyncio.run(one())


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(1000)


def test_sizes_with_and_without_a_length() -> None:
    app = SizeLimit(length, file_bytes=5000)
    assert post(app, content=bytes(5000)).text == "5000"
    assert post(app, content=pieces(5)).text == "5000"
    for content in (bytes(5001), pieces(6)):
        answer = post(app, content=content)
        assert answer.status_code == 413
        assert "max_upload_mb" in answer.json()["detail"]


def test_only_forms_and_dicom_may_be_as_large_as_files() -> None:
    app = SizeLimit(length, file_bytes=8 << 20)
    body = bytes(5 << 20)
    assert post(app, content=body).status_code == 413
    headers = {"Content-Type": "multipart/related; boundary=x"}
    assert post(app, content=body, headers=headers).text == str(len(body))


@pytest.mark.parametrize("value", ["-1", "1.5", "many", "9" * 30])
def test_a_length_that_is_none(value: str) -> None:
    app = SizeLimit(length, file_bytes=5000)
    assert post(app, content=b"", headers={"Content-Length": value}).status_code == 413


class Slow:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.most = self.now = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.go.wait()
        self.now -= 1
        await PlainTextResponse("done")(scope, receive, send)


def named(app: ASGIApp, template: str) -> ASGIApp:
    """As the guard does: the template stands in the scope, and the caller in its variable."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        scope[ADDRESS_KEY] = template
        name = scope["path"].strip("/")
        CALLER.set(Caller(name, Role.ANNOTATOR, signed_in=bool(name)))
        await app(scope, receive, send)

    return call


async def settled(queue: Queue, running: int, waiting: int) -> None:
    for _ in range(1000):
        if (queue.running, queue.waiting) == (running, waiting):
            return
        await asyncio.sleep(0)
    raise AssertionError((queue.running, queue.waiting))


def test_who_finds_no_place_is_told_at_once_and_all_others_are_answered() -> None:
    async def many() -> None:
        slow, queue = Slow(), Queue(waiting=3, running=2)
        async with client_of(named(LoadLimit(slow, queue), INFER)) as client:
            asked = [asyncio.create_task(client.post("/")) for _ in range(5)]
            await settled(queue, 2, 3)
            refused = await client.post("/")
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) >= 1
            assert refused.json()["detail"].startswith("Got: ")
            slow.go.set()
            assert [answer.text for answer in await asyncio.gather(*asked)] == ["done"] * 5
        assert (slow.most, queue.refused) == (2, 1)
        await settled(queue, 0, 0)

    asyncio.run(many())


def test_one_person_leaves_places_for_others() -> None:
    async def many() -> None:
        slow, queue = Slow(), Queue(waiting=4, running=1)
        async with client_of(named(LoadLimit(slow, queue), INFER)) as client:
            asked = [asyncio.create_task(client.post("/anna")) for _ in range(3)]
            await settled(queue, 1, 2)
            assert (await client.post("/anna")).status_code == 503
            asked.append(asyncio.create_task(client.post("/ben")))
            await settled(queue, 1, 3)
            slow.go.set()
            assert all(answer.text == "done" for answer in await asyncio.gather(*asked))

    asyncio.run(many())


def test_short_requests_never_wait() -> None:
    async def one() -> None:
        slow, queue = Slow(), Queue(waiting=1, running=1)
        async with client_of(named(LoadLimit(length, queue), "/info/")) as client:
            for _ in range(3):
                assert (await client.post("/")).status_code == 200
        assert slow.most == 0

    asyncio.run(one())


def test_a_place_is_given_back_after_an_error_and_a_cancellation() -> None:
    async def one() -> None:
        queue = Queue(waiting=1, running=1)

        async def fail() -> None:
            raise ValueError("x")

        with pytest.raises(ValueError, match="x"):
            await queue.run(fail)
        go = asyncio.Event()

        async def wait() -> None:
            await go.wait()

        running = asyncio.create_task(queue.run(wait))
        await settled(queue, 1, 0)
        waiting = asyncio.create_task(queue.run(wait))
        await settled(queue, 1, 1)
        waiting.cancel()
        await settled(queue, 1, 0)
        running.cancel()
        await settled(queue, 0, 0)

    asyncio.run(one())


def test_what_takes_long_is_known() -> None:
    heavy = {template for _, template in ROLES if HEAVY.match(template)}
    assert {INFER, "/datastore/label", "/proxy/dicom/qido/{path}", "/session/"} <= heavy
    assert heavy.isdisjoint(
        {"/info/", "/health", "/metrics", "/logs/", "/samed2d/{path}", "/auth/"}
    )

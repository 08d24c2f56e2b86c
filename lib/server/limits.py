"""How much at once: bytes of a request, and requests that wait for their turn.

Work that may take long (`HEAVY`) is done in threads, of which the web server has 40. At most
`RUNNING` requests of that kind are worked on, so that threads are left for everything else; of
those that wait, one person who signed in gets half the places at most, and who finds no place is
told to come again (503 with Retry-After), at once and not after minutes.

Concurrency contract: both live in the event loop, in which nothing is interrupted between two
``await``; there are no locks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.errors import BusyError, Samed2dError, TooLargeError
from lib.server.caller import CALLER
from lib.server.guard import ADDRESS_KEY
from lib.server.refusal import refusal

MIB = 1 << 20
RUNNING = 24
"""Requests of `HEAVY` that are worked on at the same time."""
SMALL_BYTES = 4 * MIB
"""Largest body that is no file: settings and parameters."""
HEAVY = re.compile(r"/(infer|datastore|activelearning|session|proxy|batch|train|model_version)/")


class SizeLimit:
    """Refuses bodies that are too large, before they are on disk, also those without a length.

    Args:
        app: what is behind it.
        file_bytes: for forms with files, and for DICOM.
    """

    def __init__(self, app: ASGIApp, file_bytes: int) -> None:
        self._app, self._file_bytes = app, file_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on with a `receive` that counts."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        files = headers.get("content-type", "").lower().startswith("multipart/")
        most = self._file_bytes if files else min(SMALL_BYTES, self._file_bytes)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > most:
            await refusal(_too_large(most))(scope, receive, send)
            return
        counting = _Counting(receive, send, most)
        try:
            await self._app(scope, counting.receive, counting.send)
        except _Exceeded:
            if not counting.answered:
                await refusal(_too_large(most))(scope, receive, send)


class _Exceeded(BaseException):
    """More came than was allowed. No handler on the way may take it for an error of its own."""


class _Counting:
    """Counts the bytes of a body while they come."""

    def __init__(self, receive: Receive, send: Send, most: int) -> None:
        self._receive, self._send, self._left = receive, send, most
        self.answered = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _Exceeded
        return message

    async def send(self, message: Message) -> None:
        self.answered = True
        await self._send(message)


class LoadLimit:
    """Lets a bounded number of requests wait.

    Args:
        app: what is behind it.
        queue: of the server; several apps of one server have one.
    """

    def __init__(self, app: ASGIApp, queue: Queue) -> None:
        self._app, self._queue = app, queue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, wait, or hand on."""
        template = str(scope.get(ADDRESS_KEY, ""))
        if scope["type"] != "http" or not HEAVY.match(template):
            await self._app(scope, receive, send)
            return
        try:
            await self._queue.run(lambda: self._app(scope, receive, send))
        except _FullError as full:
            await refusal(full.error)(scope, receive, send)


class _FullError(Exception):
    """There was no place; nothing of the request was done."""

    def __init__(self, error: Samed2dError) -> None:
        self.error = error
        super().__init__(error.message)


class Queue:
    """Places to work and to wait.

    Args:
        waiting: places to wait, 1 or more.
        running: requests that are worked on at the same time.

    Attributes:
        refused: how many found no place.
    """

    def __init__(self, waiting: int, running: int = RUNNING) -> None:
        self._most = waiting
        self._limiter: anyio.CapacityLimiter | None = None
        self._running = running
        self._waiting: Counter[str] = Counter()
        self.refused = 0

    @property
    def waiting(self) -> int:
        """Requests that wait now."""
        return self._waiting.total()

    @property
    def running(self) -> int:
        """Requests that are worked on now."""
        return 0 if self._limiter is None else int(self._limiter.borrowed_tokens)

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something when its turn has come."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._running)
        task = object()
        try:
            self._limiter.acquire_on_behalf_of_nowait(task)
        except anyio.WouldBlock:
            await self._wait(self._limiter, task)
        try:
            await work()
        finally:
            self._limiter.release_on_behalf_of(task)

    async def _wait(self, limiter: anyio.CapacityLimiter, task: object) -> None:
        caller = CALLER.get()
        name = caller.name if caller.signed_in else ""
        share = max(1, self._most // 2) if caller.signed_in else self._most
        if self.waiting >= self._most or self._waiting[name] >= share:
            self.refused += 1
            raise _FullError(
                BusyError(
                    got=f"a request while {self.waiting} others wait for their turn",
                    allowed=f"{self._most} that wait, half of them of one person",
                    todo="send it again in a few seconds",
                )
            )
        self._waiting[name] += 1
        try:
            await limiter.acquire_on_behalf_of(task)
        finally:
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name]


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(
        got="a request that is too large",
        allowed=f"{most // MIB} MiB for this kind of request",
        todo="send less, or raise option max_upload_mb",
    )

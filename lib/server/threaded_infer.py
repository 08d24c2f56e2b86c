"""``POST /infer/{model}`` in a thread, so that nobody waits for somebody else's click.

The endpoint of 0.8.5 is ``async def`` and does its work in place: while it reads an image or runs
a network the server answers nobody, not even ``/info``. Its route is made again, with the same
address, form and sign-in, around a function that is not.

Concurrency contract: `lib.server.infer_endpoint.run_inference` runs in as many threads at the same
time as the web server has (40). What they share, and which locks they take, is said in
`lib.server.infer` and in the modules it names.
"""

from __future__ import annotations

import inspect

import monailabel.endpoints.infer
from fastapi.routing import APIRoute

from lib.server.infer_endpoint import run_inference

_original = monailabel.endpoints.infer.api_run_inference


def thread_infer() -> None:
    """Exchange the route; to be called before the first request, and may be called again.

    Raises:
        LookupError: the host has no such route.
    """
    router = monailabel.endpoints.infer.router
    old = [r for r in router.routes if isinstance(r, APIRoute) and r.endpoint is _original]
    if any(getattr(r, "endpoint", None) is answer_in_thread for r in router.routes):
        return
    if not old:
        raise LookupError("the host has no endpoint api_run_inference")
    router.routes[:] = [r for r in router.routes if r not in old]
    # A route's path begins with the router's prefix, which add_api_route puts in front again.
    path = old[0].path.removeprefix(router.prefix)
    router.add_api_route(path, answer_in_thread, methods=["POST"], summary=old[0].summary)


def answer_in_thread(user: object = None, **values: object) -> object:
    """What the host calls with the parts of a request; the signed-in user is not needed.

    No coroutine, so the web server calls it in a thread.
    """
    return run_inference(**values)  # type: ignore[arg-type]


# The web server reads from it how to take a request apart, and who may send it.
answer_in_thread.__signature__ = inspect.signature(_original)  # type: ignore[attr-defined]

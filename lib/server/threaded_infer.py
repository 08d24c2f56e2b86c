"""``POST /infer/{model}`` in a thread, so that nobody waits for somebody else's click.

The endpoint of 0.8.5 is ``async def`` and does its work in place: while it reads an image or runs
a network the server answers nobody, not even ``/info``. Its route is made again, with the same
address, form and sign-in, around a function that is not.

Concurrency contract: `lib.server.infer_endpoint.run_inference` runs in as many threads at the same
time as the web server has (40). What they share, and which locks they take, is said in
`lib.server.infer` and in the modules it names.
"""

from __future__ import annotations

import monailabel.endpoints.infer

from lib.server.host_routes import exchange
from lib.server.infer_endpoint import run_inference

_original = monailabel.endpoints.infer.api_run_inference


def thread_infer() -> None:
    """Exchange the route; to be called before the first request, and may be called again.

    Raises:
        LookupError: the host has no such route.
    """
    exchange(monailabel.endpoints.infer.router, _original, answer_in_thread)


def answer_in_thread(user: object = None, **values: object) -> object:
    """What the host calls with the parts of a request; the signed-in user is not needed.

    No coroutine, so the web server calls it in a thread.
    """
    return run_inference(**values)  # type: ignore[arg-type]

"""Other functions behind the host's routes, at the same addresses and with the same forms.

The endpoints of MONAI Label 0.8.5 are ``async def`` and do their work in place, so while one reads
a file the server answers nobody. Those of ours are plain functions, which the web server calls in
threads.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from fastapi import APIRouter
from fastapi.routing import APIRoute


def exchange(
    router: APIRouter, original: Callable[..., object], answer: Callable[..., object]
) -> None:
    """Make all routes of one function again around another; may be called again.

    Args:
        router: of the host.
        original: the host's function. The web server goes on reading from its signature how to take
            a request apart and who may send it.
        answer: ours; it takes what the other takes, by name.

    Raises:
        LookupError: the host has no such route.
    """
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    if any(route.endpoint is answer for route in routes):
        return
    old = [route for route in routes if route.endpoint is original]
    if not old:
        raise LookupError(f"the host has no endpoint {original.__name__}")
    answer.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    router.routes[:] = [route for route in router.routes if route not in old]
    for route in old:
        router.add_api_route(
            # It begins with the router's prefix, which add_api_route puts in front again.
            route.path.removeprefix(router.prefix),
            answer,
            methods=sorted(route.methods or ()),
            summary=route.summary,
            include_in_schema=route.include_in_schema,
            deprecated=route.deprecated,
        )

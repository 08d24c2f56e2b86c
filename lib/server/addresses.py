"""Which route of the server a request is for, before the server looks for it.

Concurrency contract: nothing here changes once it is made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount

OF_MOUNT = frozenset({"GET", "HEAD"})
"""What a folder of files answers to."""


@dataclass(frozen=True)
class Address:
    """A route.

    Attributes:
        template: path with its variables in braces: "/infer/{model}".
        methods: that it answers to.
        pattern: of the paths it answers to.
    """

    template: str
    methods: frozenset[str]
    pattern: re.Pattern[str]


def addresses_of(server: FastAPI) -> tuple[Address, ...]:
    """All routes of a server, in the order in which it tries them.

    Raises:
        TypeError: a route of a kind that this module does not know.
    """
    return tuple(_address(context) for context in iter_route_contexts(server.routes))


def find(addresses: Sequence[Address], method: str, path: str) -> Address | None:
    """The address that answers; None where there is none for this method and path."""
    for address in addresses:
        if method in address.methods and address.pattern.match(path):
            return address
    return None


def methods_of(addresses: Sequence[Address], path: str) -> frozenset[str]:
    """The methods that a path can be asked with; empty where there is no such path."""
    found = [address.methods for address in addresses if address.pattern.match(path)]
    return frozenset().union(*found)


def _address(context: object) -> Address:
    route = getattr(context, "original_route", None)
    template, pattern = getattr(context, "path_format", None), getattr(context, "path_regex", None)
    methods = OF_MOUNT if isinstance(route, Mount) else getattr(context, "methods", None)
    if not isinstance(template, str) or not isinstance(pattern, re.Pattern) or not methods:
        raise TypeError(f"a route of an unknown kind: {route!r}")
    return Address(template, frozenset(methods), pattern)

"""Prints what the guard of the real routing table says to each role, as JSON; a process of its own.

Importing the host's web application makes a process "the server" for the rest of its life, which
a test process must not be. The guard is real, the routes are the real ones, and behind the guard is
nothing that could be done: 204 stands for "let through".
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import httpx
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


async def _behind(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(status_code=204)(scope, receive, send)


async def _ask_all(guard: object, pairs: list[tuple[str, str]], keys: dict[str, str]) -> list:
    answers = []
    transport = httpx.ASGITransport(guard)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        for method, template in pairs:
            path = template.replace("{", "").replace("}", "")
            for role, key in keys.items():
                headers = {"Authorization": f"Bearer {key}"} if key else {}
                status = (await client.request(method, path, headers=headers)).status_code
                answers.append([method, template, role, status])
    return answers


def main() -> None:
    """Print {"routes": [[method, template]], "answers": [[method, template, role, status]]}."""
    from monailabel.app import app

    from lib.options import AppOptions
    from lib.server.addresses import addresses_of
    from lib.server.api_keys import add_user
    from lib.server.doorman import Doorman
    from lib.server.guard import Guard
    from lib.server.host import prepare_host
    from lib.server.roles import GIVEN

    prepare_host()
    if "--with-a-new-route" in sys.argv:
        app.add_api_route("/something/new", lambda: {}, methods=["GET"])
    addresses = addresses_of(app)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "keys.json")
        keys = {"nobody": ""} | {role.title: add_user(path, role.title, role) for role in GIVEN}
        keys["stranger"] = "samed2d_000000000000_" + "x" * 43
        guard = Guard(_behind, addresses, Doorman(AppOptions(api_keys=path)))
        pairs = sorted({(method, a.template) for a in addresses for method in a.methods})
        answers = asyncio.run(_ask_all(guard, pairs, keys))
    print(json.dumps({"routes": pairs, "answers": answers}))


if __name__ == "__main__":
    main()

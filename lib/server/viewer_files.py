"""``/samed2d/``: the OHIF build with our configuration and extension, as plain files.

Our own files go before those of the build. A path that is no file is one of OHIF's pages, all of
which are its ``index.html``. Browsers ask for each file again and mostly hear "not changed": the
names of OHIF's bundles hold a hash, but of what they were before we adapted them.

No file here says anything about a patient, so nobody has to sign in for them.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path, PurePosixPath
from typing import Any

from fastapi import FastAPI
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from lib.errors import NotFoundError
from lib.server.viewer_build import BUILD_FOLDER, PREFIX, VIEWER_FOLDER, installed_build

OWN = ("annotator", "app-config.js")
"""What of the folder of our files is served; the build lies there too."""

Scope = MutableMapping[str, Any]
"""A request, as ASGI describes it."""


class ViewerFiles(StaticFiles):
    """The viewer as an ASGI application.

    Args:
        own: folder of our configuration and extension.
        build: folder of the OHIF build.
    """

    def __init__(self, own: Path = VIEWER_FOLDER, build: Path = BUILD_FOLDER) -> None:
        super().__init__(directory=build, check_dir=False)
        # Whether it is there is asked with each page; it may be installed while the server runs.
        self.config_checked = True
        self._build = build
        self._own = StaticFiles(directory=own)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, or the page that decides by its address what to show.

        Raises:
            NotFoundError: the build is not installed.
        """
        if PurePosixPath(path).parts[:1] and PurePosixPath(path).parts[0] in OWN:
            response = await self._own.get_response(path, scope)
        else:
            response = await self._of_build(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response

    async def _of_build(self, path: str, scope: Scope) -> Response:
        if installed_build(self._build) is None:
            raise NotFoundError(
                got=f"{PREFIX} without the viewer",
                allowed="the viewer, installed once on the server's computer",
                todo="run python scripts/get_viewer.py there, then reload this page",
            )
        try:
            return await super().get_response(path, scope)
        except HTTPException as error:
            # A file that is missing must not be answered with a page.
            if error.status_code != 404 or PurePosixPath(path).suffix in (".js", ".css", ".wasm"):
                raise
        return await super().get_response("index.html", scope)


def serve_viewer(server: FastAPI) -> None:
    """Show the viewer; may be called again."""
    if any(getattr(route, "name", None) == "samed2d viewer" for route in server.routes):
        return
    address = PREFIX.rstrip("/")
    server.add_api_route(address, _to_viewer, include_in_schema=False)
    server.mount(address, ViewerFiles(), name="samed2d viewer")


def _to_viewer() -> RedirectResponse:
    return RedirectResponse(PREFIX)

"""The web application of this process, if it is the server."""

from __future__ import annotations

import sys

from fastapi import FastAPI


def running_server() -> FastAPI | None:
    """The host's web application; None in other processes, those that train for instance."""
    module = sys.modules.get("monailabel.app")
    return None if module is None else module.app

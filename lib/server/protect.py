"""Puts what watches over requests in front of all routes of the server.

The order, from outside: counting answers, pages of other servers (CORS), the guard, the size of a
request, its turn. The host allows pages of any server to ask anything (0.8.5, app.py:
``allow_origins=["*"]``); here only those that ``MONAI_LABEL_CORS_ORIGINS`` names.
"""

from __future__ import annotations

from fastapi import FastAPI
from monailabel.config import settings
from monailabel.endpoints.user.auth import get_current_user
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from lib.options import AppOptions, default_audit_log
from lib.server.addresses import addresses_of
from lib.server.audit import open_audit
from lib.server.caller import host_user
from lib.server.doorman import Doorman
from lib.server.guard import Guard
from lib.server.limits import MIB, LoadLimit, Queue, SizeLimit
from lib.server.metrics import Metrics
from lib.server.watch import Watch

_OURS: frozenset[object] = frozenset({Guard, CORSMiddleware, SizeLimit, LoadLimit, Watch})


def protect(server: FastAPI, options: AppOptions) -> None:
    """Watch over all routes that the server has now; may be called again.

    Raises:
        OptionError: the file of keys or the audit log cannot be used.
    """
    open_audit(options.audit_log or default_audit_log())
    server.state.doorman = doorman = Doorman(options)
    origins = [str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS]
    server.state.queue = queue = Queue(options.max_waiting)
    server.state.metrics = metrics = getattr(server.state, "metrics", None) or Metrics()
    guards = [
        Middleware(Watch, metrics),
        Middleware(Guard, addresses_of(server), doorman, origins),
        Middleware(SizeLimit, options.max_upload_mb * MIB),
        Middleware(LoadLimit, queue),
    ]
    if origins:
        guards.insert(1, _cors(origins))
    others = [entry for entry in server.user_middleware if entry.cls not in _OURS]
    server.user_middleware = [*guards, *others]
    server.dependency_overrides[get_current_user] = host_user
    # The start of the app counts as a request, and after the first one nothing can be added.
    server.middleware_stack = server.build_middleware_stack()


def _cors(origins: list[str]) -> Middleware:
    return Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_credentials=True,
        allow_methods=["GET", "HEAD", "PUT", "POST", "DELETE"],
        allow_headers=["Authorization", "Content-Type"],
    )

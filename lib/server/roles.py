"""Who may do what: one table of all addresses of the server, the host's own among them.

An address that is not in the table is answered to nobody (`lib.server.guard`), and a test compares
the table with the routes of the running server. So a new route has a role before it can be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType


class Role(IntEnum):
    """What somebody may do; each may all that those before may."""

    ANYBODY = 0
    ANNOTATOR = 1
    TRAINER = 2
    ADMIN = 3

    @property
    def title(self) -> str:
        """The name in files, options and sentences: "annotator"."""
        return self.name.lower()


GIVEN = (Role.ANNOTATOR, Role.TRAINER, Role.ADMIN)
"""Roles that a person can have."""

_ROWS: tuple[tuple[Role, str, tuple[str, ...]], ...] = (
    # Nothing here says anything about a patient, or changes anything.
    (Role.ANYBODY, "/health", ("GET",)),
    (Role.ANYBODY, "/ready", ("GET",)),
    (Role.ANYBODY, "/auth/", ("GET",)),
    (Role.ANYBODY, "/auth/token", ("POST",)),
    (Role.ANYBODY, "/login/", ("GET", "POST")),
    (Role.ANYBODY, "/logout/", ("POST",)),
    (Role.ANYBODY, "/samed2d", ("GET",)),
    (Role.ANYBODY, "/samed2d/{path}", ("GET", "HEAD")),
    (Role.ANYBODY, "/ohif/{path}", ("GET",)),
    (Role.ANYBODY, "/static/{path}", ("GET", "HEAD")),
    (Role.ANYBODY, "/favicon.ico", ("GET",)),
    (Role.ANYBODY, "/model_card/{model}", ("GET",)),
    # Looking at images, segmenting and saving.
    (Role.ANNOTATOR, "/", ("GET",)),
    (Role.ANNOTATOR, "/docs", ("GET", "HEAD")),
    (Role.ANNOTATOR, "/openapi.json", ("GET", "HEAD")),
    (Role.ANNOTATOR, "/metrics", ("GET",)),
    (Role.ANNOTATOR, "/auth/token/valid", ("GET",)),
    (Role.ANNOTATOR, "/info/", ("GET",)),
    (Role.ANNOTATOR, "/infer/{model}", ("POST",)),
    (Role.ANNOTATOR, "/infer/wsi/{model}", ("POST",)),
    (Role.ANNOTATOR, "/infer/wsi_v2/{model}", ("POST",)),
    (Role.ANNOTATOR, "/volume_job/{client_id}", ("GET", "DELETE")),
    (Role.ANNOTATOR, "/activelearning/{strategy}", ("POST",)),
    (Role.ANNOTATOR, "/datastore/", ("GET", "PUT")),
    (Role.ANNOTATOR, "/datastore/image", ("GET", "HEAD", "PUT")),
    (Role.ANNOTATOR, "/datastore/image/info", ("GET", "PUT")),
    (Role.ANNOTATOR, "/datastore/label", ("GET", "HEAD", "PUT")),
    (Role.ANNOTATOR, "/datastore/label/info", ("GET", "PUT")),
    (Role.ANNOTATOR, "/datastore/updatelabelinfo", ("PUT",)),
    (Role.ANNOTATOR, "/session/", ("PUT",)),
    (Role.ANNOTATOR, "/session/{session_id}", ("GET", "DELETE")),
    (Role.ANNOTATOR, "/proxy/dicom/{path}", ("GET",)),
    (Role.ANNOTATOR, "/proxy/dicom/qido/{path}", ("GET",)),
    (Role.ANNOTATOR, "/proxy/dicom/wado/{path}", ("GET",)),
    (Role.ANNOTATOR, "/batch/infer", ("GET",)),
    (Role.ANNOTATOR, "/train/", ("GET",)),
    (Role.ANNOTATOR, "/scoring/", ("GET",)),
    (Role.ANNOTATOR, "/model_version/{model}", ("GET",)),
    # What answers everybody's clicks, and long work.
    (Role.TRAINER, "/train/", ("POST", "DELETE")),
    (Role.TRAINER, "/train/{model}", ("POST",)),
    (Role.TRAINER, "/batch/infer", ("DELETE",)),
    (Role.TRAINER, "/batch/infer/{model}", ("POST",)),
    (Role.TRAINER, "/scoring/", ("POST", "DELETE")),
    (Role.TRAINER, "/scoring/{method}", ("POST",)),
    (Role.TRAINER, "/model_version/{model}", ("POST",)),
    # What cannot be taken back, what leaves in bulk, and the inside of the server.
    (Role.ADMIN, "/datastore/", ("DELETE",)),
    (Role.ADMIN, "/datastore/image", ("DELETE",)),
    (Role.ADMIN, "/datastore/label", ("DELETE",)),
    (Role.ADMIN, "/datastore/dataset", ("GET",)),
    (Role.ADMIN, "/model/{model}", ("GET", "PUT", "DELETE")),
    (Role.ADMIN, "/model/info/{model}", ("GET",)),
    (Role.ADMIN, "/proxy/dicom/{path}", ("POST",)),
    (Role.ADMIN, "/proxy/dicom/qido/{path}", ("POST",)),
    (Role.ADMIN, "/proxy/dicom/wado/{path}", ("POST",)),
    (Role.ADMIN, "/proxy/dicom/stow/{path}", ("GET", "POST")),
    (Role.ADMIN, "/logs/", ("GET",)),
    (Role.ADMIN, "/logs/gpu", ("GET",)),
    (Role.ADMIN, "/reload", ("POST",)),
)

ROLES: Mapping[tuple[str, str], Role] = MappingProxyType(
    {(method, address): role for role, address, methods in _ROWS for method in methods}
)
"""(method, address with its variables in braces) -> the least role that may use it."""


def role_named(title: str) -> Role:
    """The role of a name such as "annotator".

    Raises:
        KeyError: nobody can have such a role.
    """
    return {role.title: role for role in GIVEN}[title]

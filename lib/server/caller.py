"""Who sent the request that is being answered, for everything that works on it.

Concurrency contract: a context variable, so each request has its own; the web server hands it on
to the thread in which a request is answered.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from monailabel.config import settings
from monailabel.endpoints.user.auth import User

from lib.server.roles import Role


@dataclass(frozen=True)
class Caller:
    """A person, or a program.

    Attributes:
        name: that the key or the token was given to.
        role: what they may do.
        signed_in: false where nobody has to sign in, or did not.
        host_roles: as the token says it to the host; none of an API key.
    """

    name: str
    role: Role
    signed_in: bool = True
    host_roles: tuple[str, ...] = ()


OPEN = Caller("admin", Role.ADMIN, signed_in=False)
"""Whoever sits at the computer of a server without authentication, under the host's name."""
NOBODY = Caller("", Role.ANYBODY, signed_in=False)

CALLER: ContextVar[Caller] = ContextVar("caller", default=OPEN)


async def host_user() -> User:
    """The caller as the host's endpoints know users; takes the place of ``get_current_user``.

    The host asks for its role of administrators where ours asks for a trainer. What distinguishes
    the two is `lib.server.roles`, which has been asked before.
    """
    caller = CALLER.get()
    roles = list(caller.host_roles)
    if not roles and caller.role >= Role.ANNOTATOR:
        roles = [settings.MONAI_LABEL_AUTH_ROLE_USER, settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR]
    if not caller.host_roles and caller.role >= Role.TRAINER:
        roles += [settings.MONAI_LABEL_AUTH_ROLE_REVIEWER, settings.MONAI_LABEL_AUTH_ROLE_ADMIN]
    return User(username=caller.name, roles=roles)

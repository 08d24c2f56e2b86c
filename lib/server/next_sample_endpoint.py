"""``POST /activelearning/{strategy}`` in a thread, and at once.

The endpoint of 0.8.5 is ``async def`` and does its work in place, collects the whole ``/info``,
downloads the chosen series from the PACS and rewrites the datastore's file before it answers, lets
the client overwrite any key, and answers 400 with a word about initialisation to an unknown
strategy. Its route is made again as `lib.server.threaded_infer` does it for clicks. The answer has
the host's keys, and those of `lib.server.next_sample.Sample`.

``path`` is given for local files only: Slicer opens it where it exists and otherwise downloads the
image by its id, which is what it does with a PACS.

Concurrency contract: `answer_next_sample` runs in as many threads at the same time as the web
server has; see `lib.server.next_sample`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import monailabel.endpoints.activelearning
from monailabel.endpoints.user.auth import User
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.utils.app import app_instance

from lib.errors import NotFoundError, RequestError
from lib.server.caller import CALLER
from lib.server.datastore import PacsDatastore
from lib.server.host_routes import exchange
from lib.server.requests import MAX_TEXT

PARAMETERS = ("client_id",)
NOBODY = ("", "user-xyz")
"""What clients send whose user chose no name; the second one is Slicer's default for everybody."""

logger = logging.getLogger(__name__)
_original = monailabel.endpoints.activelearning.api_sample


class App(Protocol):
    """What this module needs of the host's MONAILabelApp."""

    _strategies: Mapping[str, Strategy]

    def datastore(self) -> Datastore:
        """Images and labels."""


def thread_next_sample() -> None:
    """Exchange the route; to be called before the first request, and may be called again.

    Raises:
        LookupError: the host has no such route.
    """
    exchange(monailabel.endpoints.activelearning.router, _original, answer_next_sample)


def answer_next_sample(
    strategy: str, params: dict[str, Any] | None = None, user: User | None = None
) -> dict[str, Any]:
    """The case to label next; empty where all are labelled.

    Args:
        strategy: name in the address.
        params: of the client: ``client_id``, or nothing.
        user: who is signed in, if the host asks for that.

    Raises:
        NotFoundError: no such strategy.
        RequestError: a key that nobody knows, or a name that is none.
        UnavailableError: the PACS does not answer.
    """
    app: App = app_instance()
    if strategy not in app._strategies:
        raise NotFoundError(
            got=f"strategy {strategy[:MAX_TEXT]!r}",
            allowed=", ".join(app._strategies) or "none",
            todo="use one of these names in the address",
        )
    client = client_name(params or {}, user)
    datastore = app.datastore()
    found = app._strategies[strategy]({"strategy": strategy, "client_id": client}, datastore)
    if not found:
        return {}
    logger.info("next sample for %s by %s: %s", client or "somebody", strategy, found)
    return {**image_facts(datastore, found["id"]), **found} if "id" in found else dict(found)


def client_name(params: Mapping[str, Any], user: User | None) -> str | None:
    """Who asks: the name that was sent, else that of who is signed in; None for nobody.

    Raises:
        RequestError: another key, or a name that is no short text.
    """
    unknown = sorted(str(key)[:MAX_TEXT] for key in params if key not in PARAMETERS)
    if unknown:
        raise RequestError(
            got="unknown key " + ", ".join(map(repr, unknown)),
            allowed=", ".join(PARAMETERS),
            todo="leave it out",
        )
    name = params.get("client_id")
    if name is not None and (not isinstance(name, str) or len(name) > MAX_TEXT):
        raise RequestError(
            got=f"client_id {str(name)[:MAX_TEXT]!r}",
            allowed=f"a text of at most {MAX_TEXT} characters",
            todo="send the annotator's name",
        )
    if name is not None and name.strip() not in NOBODY:
        return name.strip()
    # Where nobody signs in, the host calls everybody admin.
    return user.username if user is not None and CALLER.get().signed_in else None


def image_facts(datastore: Datastore, image: str) -> dict[str, Any]:
    """What the datastore knows of an image: names and, of one in a PACS, its study and patient."""
    if isinstance(datastore, PacsDatastore):
        return datastore.series_facts(image)
    return dict(datastore.get_image_info(image))

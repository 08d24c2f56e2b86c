"""The way of OHIF to the PACS: the host's DICOM proxy, without dropping half of each question.

Of ``monailabel.endpoints.proxy.proxy_dicom`` (0.8.5):

* it drops the query, so filters and pages of the study list do nothing, and the side panel lists
  every patient of the PACS;
* it drops the Accept header of a GET. OHIF decodes every transfer syntax and says so; without the
  header an archive has to decode the pixels itself (DICOM PS3.18, 8.7.3.5.2), and one that cannot,
  such as Orthanc with JPEG 2000, answers 500: the viewer shows a grey square;
* it waits for the PACS inside the event loop, and nobody else is served meanwhile;
* it passes any path on, also those that are not DICOMweb's, and follows the PACS to other servers.

Addresses and accounts are the host's settings. Google's cloud stays with the host's own version.
"""

from __future__ import annotations

import logging

import monailabel.endpoints.proxy
import requests
from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from monailabel.config import settings

from lib.errors import NotFoundError, UnavailableError
from lib.server.dicom_paths import check_dicomweb

SENT = ("accept", "content-type")
"""Headers of a question that reach the PACS; cookies and sign-ins do not."""
RETURNED = ("content-type",)
"""Headers of an answer that reach the viewer; its length and coding are made anew."""

_original = getattr(
    monailabel.endpoints.proxy.proxy_dicom, "__wrapped__", monailabel.endpoints.proxy.proxy_dicom
)
logger = logging.getLogger(__name__)


def repair_proxy() -> None:
    """Replace the host's function; its routes look it up by name."""
    monailabel.endpoints.proxy.proxy_dicom = proxy_dicom


async def proxy_dicom(request: Request, op: str, path: str) -> Response:
    """Put a viewer's question to the PACS and hand back the answer.

    Args:
        request: of the viewer.
        op: "qido", "wado", "stow" or "" (chooses the prefix of the address).
        path: below that prefix.

    Raises:
        RequestError: no question of DICOMweb.
        NotFoundError: this server has no PACS.
        UnavailableError: the PACS does not answer.
    """
    path = check_dicomweb(request.method, op, path, request.url.query)
    if not settings.MONAI_LABEL_STUDIES.startswith(("http://", "https://")):
        raise NotFoundError(
            got="a question for the PACS of a server without one",
            allowed="questions where --studies is the address of a DICOMweb server",
            todo="look at GET /datastore/?output=all for the images of a folder",
        )
    if "googleapis.com" in settings.MONAI_LABEL_STUDIES:
        answer: Response = await _original(request, op, path)
        return answer
    headers = {name: request.headers[name] for name in SENT if name in request.headers}
    body = await request.body()
    return await run_in_threadpool(
        _ask, request.method, _address(op, path), request.url.query, headers, body
    )


proxy_dicom.__wrapped__ = _original  # type: ignore[attr-defined]


def _address(op: str, path: str) -> str:
    """Where a path of the proxy lies in the PACS."""
    if op == "qido" and path.endswith("metadata"):
        op = "wado"
    prefixes = {
        "qido": settings.MONAI_LABEL_QIDO_PREFIX,
        "wado": settings.MONAI_LABEL_WADO_PREFIX,
        "stow": settings.MONAI_LABEL_STOW_PREFIX,
    }
    parts = (settings.MONAI_LABEL_STUDIES.rstrip("/"), prefixes.get(op) or "", path)
    return "/".join(part for part in parts if part)


def _ask(method: str, address: str, query: str, headers: dict[str, str], body: bytes) -> Response:
    user, password = settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD
    try:
        answer = requests.request(
            method,
            address,
            params=query,
            headers=headers,
            data=body or None,
            auth=(user, password) if user and password else None,
            timeout=settings.MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT,
            allow_redirects=False,
        )
        if answer.is_redirect:
            raise requests.TooManyRedirects("the PACS refers to another address")
    except requests.RequestException as error:
        logger.warning("PACS: %s", error)
        raise UnavailableError(
            got="no answer from the PACS",
            allowed="a DICOMweb server that answers",
            todo="check that it runs and that its address in --studies is right",
        ) from error
    returned = {name: answer.headers[name] for name in RETURNED if name in answer.headers}
    return Response(answer.content, answer.status_code, returned)

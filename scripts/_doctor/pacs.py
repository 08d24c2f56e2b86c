"""Whether a PACS answers what the server will ask it: QIDO-RS and WADO-RS. Nothing is stored."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import requests

from scripts._doctor.finding import MISSING, NOTE, OK, Finding

SECONDS = 10
JSON = {"Accept": "application/dicom+json"}
STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"


def check_pacs(studies: str) -> Iterator[Finding]:
    """Ask for a series, its instances and their metadata.

    Args:
        studies: address as given to --studies.
    """
    address = studies.rstrip("/")
    prefixes = {
        name: os.environ.get(f"MONAI_LABEL_{name}_PREFIX", "").strip("/")
        for name in ("QIDO", "WADO")
    }
    try:
        found = _ask(address, prefixes["QIDO"], "series?limit=1")
    except (requests.RequestException, ValueError) as error:
        yield Finding(MISSING, "PACS, QIDO", f"{address}: {_short(error)}; {_todo(error)}")
        return
    if not found:
        yield Finding(NOTE, "PACS, QIDO", f"{address} answers, and has no series")
        return
    yield Finding(OK, "PACS, QIDO", f"{address} answers")
    try:
        study, series = (str(found[0][tag]["Value"][0]) for tag in (STUDY, SERIES))
        path = f"studies/{study}/series/{series}/metadata"
        metadata = _ask(address, prefixes["WADO"], path)
        if not metadata or INSTANCE not in metadata[0]:
            raise ValueError("no metadata of a series that it lists")
    except (requests.RequestException, ValueError, LookupError, TypeError) as error:
        yield Finding(MISSING, "PACS, WADO", f"{_short(error)}; {_todo(error)}")
        return
    yield Finding(OK, "PACS, WADO", "metadata of a series can be had")


def _ask(address: str, prefix: str, path: str) -> list[dict[str, Any]]:
    user = os.environ.get("MONAI_LABEL_DICOMWEB_USERNAME", "")
    password = os.environ.get("MONAI_LABEL_DICOMWEB_PASSWORD", "")
    answer = requests.get(
        "/".join(part for part in (address, prefix, path) if part),
        headers=JSON,
        auth=(user, password) if user and password else None,
        timeout=SECONDS,
        allow_redirects=False,
    )
    answer.raise_for_status()
    if answer.status_code == 204:
        return []
    content = answer.json()
    if answer.status_code != 200 or not isinstance(content, list):
        raise ValueError("something else than DICOM JSON")
    return content


def _short(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"it answers with status {error.response.status_code}"
    if isinstance(error, requests.ConnectionError):
        return "nothing answers at this address"
    if isinstance(error, requests.Timeout):
        return f"no answer within {SECONDS} s"
    return f"it answers {str(error)[:80] or type(error).__name__}"


def _todo(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        if error.response.status_code in (401, 403):
            return "set MONAI_LABEL_DICOMWEB_USERNAME and MONAI_LABEL_DICOMWEB_PASSWORD"
        return "check the path of the address; Orthanc's is /dicom-web"
    return "check that the PACS runs, and its address"

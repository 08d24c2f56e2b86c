"""What of a PACS can be reached through the server: the paths of DICOMweb, and nothing else.

DICOM PS3.18: 10.6 (search), 10.4 (retrieve), 10.5 (store). Bulk data are where an archive says
they are; Orthanc has them below ``bulk``.
"""

from __future__ import annotations

import re

from lib.errors import RequestError

_UID = r"[0-9]+(?:\.[0-9]+)*"
_SEEN = "metadata|rendered|thumbnail"
_FRAMES = rf"frames/[0-9]{{1,6}}(?:,[0-9]{{1,6}})*(?:/(?:{_SEEN}))?"
_BULK = r"bulk(?:data)?(?:/[A-Za-z0-9_-]+)*"
_INSTANCE = rf"instances/{_UID}(?:/(?:{_SEEN}|{_FRAMES}|{_BULK}))?"
_SERIES = rf"series/{_UID}(?:/(?:{_SEEN}|instances|{_INSTANCE}|{_BULK}))?"
_STUDY = rf"studies/{_UID}(?:/(?:{_SEEN}|series|instances|{_SERIES}|{_INSTANCE}|{_BULK}))?"
READ = re.compile(rf"studies|series|instances|{_STUDY}")
"""Paths of searches and of what they find."""
STORE = re.compile(rf"studies(?:/{_UID})?")
"""Paths that take instances."""
MAX_PATH = 1024
MAX_QUERY = 8192


def check_dicomweb(method: str, op: str, path: str, query: str) -> str:
    """Refuse what is no question of DICOMweb; returns the path without slashes at its ends.

    Args:
        method: GET or POST.
        op: "qido", "wado", "stow" or "".
        path: below the address of the PACS.
        query: of the address.

    Raises:
        RequestError: another path, a POST that stores nothing, or a query that is too long.
    """
    path = path.strip("/") if len(path) <= MAX_PATH else "..."
    pattern = READ if method == "GET" and op != "stow" else STORE
    storing = method != "GET"
    if not pattern.fullmatch(path) or (storing and op not in ("stow", "")):
        raise RequestError(
            got=f"{method} {path[:128]!r} for the PACS",
            allowed="GET of studies, series, instances and what is below them; POST of instances "
            "to /proxy/dicom/stow/studies",
            todo="ask the PACS itself for anything else",
        )
    if len(query) > MAX_QUERY:
        raise RequestError(
            got=f"a query of {len(query)} characters", allowed=f"at most {MAX_QUERY}"
        )
    return path

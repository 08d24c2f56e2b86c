"""Images of a PACS as cases to work on."""

from __future__ import annotations

from typing import Any

import requests

from scripts._load.cases import PROMPTS, Case

JSON = {"Accept": "application/dicom+json"}
TIMEOUT = 60
SERIES, MODALITY, ROWS, COLUMNS = "0020000E", "00080060", "00280010", "00280011"
INSTANCES, STUDY = "00201209", "0020000D"
IMAGES = ("CT", "MR")


def pacs_cases(address: str, count: int) -> tuple[Case, ...]:
    """The first series of a PACS that are images of equal slices.

    Args:
        address: of its DICOMweb service.
        count: so many at most.

    Raises:
        LookupError: it has none.
    """
    found = []
    for series in _ask(address, f"series?includefield={INSTANCES}"):
        if _value(series, MODALITY) in IMAGES and len(found) < count:
            found.append(_case(address, series))
    if not found:
        raise LookupError(f"{address} has no series of {' or '.join(IMAGES)}")
    return tuple(found)


def _case(address: str, series: dict[str, Any]) -> Case:
    study, uid = str(_value(series, STUDY)), str(_value(series, SERIES))
    path = f"studies/{study}/series/{uid}/metadata"
    planes = _ask(address, path)
    shape = (int(_value(planes[0], COLUMNS)), int(_value(planes[0], ROWS)), len(planes))
    middle = (shape[0] // 2, shape[1] // 2)
    step = max(1, min(middle) // 8)
    clicks = [
        (middle[0] + step * (n % 5 - 2), middle[1] + step * (n // 5 - 2), n % shape[2])
        for n in range(PROMPTS)
    ]
    return Case(uid, shape, tuple(clicks))


def _ask(address: str, path: str) -> list[dict[str, Any]]:
    answer = requests.get(f"{address.rstrip('/')}/{path}", headers=JSON, timeout=TIMEOUT)
    answer.raise_for_status()
    return list(answer.json())


def _value(entry: dict[str, Any], tag: str) -> Any:
    return entry[tag]["Value"][0]

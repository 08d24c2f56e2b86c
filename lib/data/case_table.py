"""What a ``manifest.csv`` beside the cases of a folder says of them.

A table with a header. ``case`` is the name of a file without its ending (of a NIfTI pair: without
``_image`` too); ``modality`` and ``patient`` are used where they are filled in, other columns are
passed over.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lib.errors import ImageError

FILE = "manifest.csv"
CASE = "case"


@dataclass(frozen=True)
class CaseFacts:
    """What is known of a case beside its pixels.

    Attributes:
        modality: in the words of the table ("CT", "MR T1", "X-ray"); empty where unknown.
        patient: images that share it are resampled together; empty where unknown.
    """

    modality: str = ""
    patient: str = ""


NOTHING = CaseFacts()


def read_case_table(folder: Path) -> Mapping[str, CaseFacts]:
    """The facts of all cases of a folder by name; empty where there is no table.

    Raises:
        ImageError: a table that cannot be read, has no column ``case``, or names a case twice.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _refused(path, str(error)) from error
    found: dict[str, CaseFacts] = {}
    for row in rows:
        name = (row.get(CASE) or "").strip()
        if not name:
            raise _refused(path, f"a row without {CASE!r}")
        if name in found:
            raise _refused(path, f"{name!r} named twice")
        found[name] = CaseFacts(
            (row.get("modality") or "").strip(), (row.get("patient") or "").strip()
        )
    return found


def _refused(path: Path, why: str) -> ImageError:
    return ImageError(
        got=f"{path} with {why}",
        allowed=f"a table with the columns {CASE}, modality and patient, one row for each case",
        todo="correct it, or move it away",
    )

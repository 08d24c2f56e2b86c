"""The page of licences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scripts._supply.files import SuppliedFile
from scripts._supply.licences import is_permissive
from scripts._supply.packages import Package

_HEAD = """\
# Licences

Made by `python scripts/supply.py licences`; do not edit.

The code of this repository is under Apache-2.0. Below is everything it needs or fetches, with the
licence that each part declares. Orthanc, Chromium and npm, which only the tests and the reference
setup use, are programs of their own and not part of it.
"""
_MORE = """\
## Those that ask for more than to be named

Used unchanged, as separate packages. NVIDIA's are installed on Linux along with torch, and loaded
only where there is such a card.
"""


def licence_page(packages: Sequence[Package], files: Sequence[SuppliedFile]) -> str:
    """Markdown: weights and viewer, packages that ask for more, all packages."""
    asking = [package for package in packages if not is_permissive(package.licence)]
    parts = [
        _HEAD,
        "## Weights and viewer\n",
        _table(("file", "licence", "SHA-256", "where from"), map(_file_cells, files)),
        _MORE,
        _table(("package", "licence"), ((_named(p.name), p.licence) for p in asking)),
        "## Python packages\n",
        _table(("package", "version", "licence", "installed where"), map(_cells, packages)),
    ]
    return "\n".join(parts)


def _file_cells(file: SuppliedFile) -> tuple[str, ...]:
    name = f"{file.name} {file.version}".strip()
    return _named(name), file.licence, _named((file.sha256 or "")[:12]), file.origin


def _cells(package: Package) -> tuple[str, ...]:
    return _named(package.name), package.version, package.licence, _named(package.only)


def _named(text: str) -> str:
    return f"`{text}`" if text else ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)

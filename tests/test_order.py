"""Which files come first where several workers share out the tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.support.order import DEAREST, ROOT, dear_first


@dataclass(frozen=True)
class Item:
    """As much of a test as is looked at."""

    name: str
    file: str
    marks: frozenset[str] = field(default_factory=frozenset)

    @property
    def path(self) -> Path:
        return ROOT / self.file

    def get_closest_marker(self, mark: str) -> str | None:
        return mark if mark in self.marks else None


def test_the_dearest_files_exist() -> None:
    assert [name for name in DEAREST if not (ROOT / name).is_file()] == []


def test_dear_files_come_first_and_stay_whole() -> None:
    cheap = [Item("a", "tests/test_a.py"), Item("b", "tests/test_z.py")]
    mixed = [
        Item("c", "tests/test_m.py"),
        Item("d", "tests/test_m.py", frozenset({"server"})),
        Item("e", "tests/test_m.py"),
    ]
    other = [Item("f", "tests/test_n.py", frozenset({"parametrize"}))]
    dearest = [Item("g", DEAREST[1]), Item("h", DEAREST[0]), Item("i", DEAREST[0])]
    items = [*cheap, *mixed, *other, *dearest]
    names = "".join(item.name for item in dear_first(items))  # type: ignore[arg-type]
    assert names == "hig" + "cde" + "abf"

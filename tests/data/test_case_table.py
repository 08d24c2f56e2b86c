"""What a table beside the cases says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.data.case_table import CaseFacts, read_case_table
from lib.errors import ImageError


def write(folder: Path, text: str) -> Path:
    (folder / "manifest.csv").write_text(text, encoding="utf-8")
    return folder


def test_no_table_says_nothing(tmp_path: Path) -> None:
    assert read_case_table(tmp_path) == {}


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    text = '\ufeffpatient,case,note,modality\np1,a,"x, y",MR T1\n,b,,\n'
    facts = read_case_table(write(tmp_path, text))
    assert facts == {"a": CaseFacts("MR T1", "p1"), "b": CaseFacts()}


def test_other_columns_may_be_missing(tmp_path: Path) -> None:
    assert read_case_table(write(tmp_path, "case\na\n")) == {"a": CaseFacts()}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"name,modality\na,CT\n", "a row without 'case'"),
        (b"case,modality\na,CT\na,MR\n", "named twice"),
        (b"case\n\xff\xfe\n", "utf-8"),
    ],
)
def test_a_wrong_table(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(ImageError, match=says):
        read_case_table(tmp_path)

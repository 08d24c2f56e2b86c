"""Bytes from folders and addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.data.shards.places import read_whole
from lib.errors import UnavailableError
from tests.support.file_server import serve_files


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert read_whole(str(tmp_path), "a") == b"abc"
    with pytest.raises(UnavailableError, match="b in"):
        read_whole(str(tmp_path), "b")


def test_an_answer_that_breaks_off_is_asked_for_again() -> None:
    with serve_files(a=b"abc" * 999) as server:
        server.breaks.append(50)
        assert read_whole(f"{server.url}/", "a", pause=0) == b"abc" * 999


def test_no_such_file_and_no_such_server() -> None:
    with serve_files(a=b"abc") as server, pytest.raises(UnavailableError, match="404"):
        read_whole(server.url, "b", pause=0)
    with pytest.raises(UnavailableError, match="ConnectionError"):
        read_whole("http://127.0.0.1:9", "a", pause=0)

"""scripts/users.py, as somebody calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.server.api_keys import owner_of, read_users
from scripts import users


def run(path: Path, *arguments: str) -> int:
    return users.main(["--file", str(path), *arguments])


def test_from_the_first_key_to_the_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.json"
    assert run(path, "add", "Anna Berg") == 0
    key = capsys.readouterr().out.strip()
    owner = owner_of(read_users(path), key)
    assert owner is not None and owner.name == "Anna Berg"
    assert run(path, "role", "Anna Berg", "trainer") == 0
    assert run(path, "list") == 0
    out = capsys.readouterr().out
    assert "trainer" in out and "Anna Berg" in out and key not in out
    assert run(path, "remove", "Anna Berg") == 0
    assert read_users(path) == ()


def test_what_cannot_be_done_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.json"
    assert run(path, "list") == 1
    assert "users.py add" in capsys.readouterr().err
    assert run(path, "add", "a/b") == 1
    assert "Allowed" in capsys.readouterr().err
    assert run(path, "add", "anna") == 0
    assert run(path, "add", "anna") == 1
    assert run(path, "remove", "ben") == 1
    assert "Traceback" not in capsys.readouterr().err


def test_the_file_is_that_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAMED2D_API_KEYS", str(tmp_path / "named.json"))
    assert users.main(["add", "anna", "--role", "admin"]) == 0
    monkeypatch.delenv("SAMED2D_API_KEYS")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert users.main(["add", "ben"]) == 0
    assert (tmp_path / "named.json").exists()
    assert (tmp_path / "samed2d" / "api-keys.json").exists()

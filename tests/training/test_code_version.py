"""Which source is running: a commit, or the release."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lib.training.code_version import code_version


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "samed2d"\nversion = "9.8.7"\n')
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_without_git_it_is_the_release(checkout: Path) -> None:
    assert code_version(checkout) == "samed2d 9.8.7"


def test_with_git_it_is_the_commit(checkout: Path) -> None:
    git(checkout, "init", "--quiet")
    # Nothing was committed yet.
    assert code_version(checkout) == "samed2d 9.8.7"
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "first")
    commit = git(checkout, "rev-parse", "HEAD")
    assert code_version(checkout) == commit
    (checkout / "pyproject.toml").write_text("[project]\n")
    assert code_version(checkout) == f"{commit}-dirty"


def test_a_repository_around_it_does_not_count(checkout: Path, tmp_path: Path) -> None:
    inner = tmp_path / "unpacked"
    inner.mkdir()
    (tmp_path / "pyproject.toml").rename(inner / "pyproject.toml")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    assert code_version(inner) == "samed2d 9.8.7"


def test_git_that_cannot_be_run(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(checkout, "init", "--quiet")
    monkeypatch.setenv("PATH", "")
    assert code_version(checkout) == "samed2d 9.8.7"

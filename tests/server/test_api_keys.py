"""The file of API keys: what is in it, who can read it, and what happens to a damaged one."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from lib.errors import NotFoundError, OptionError, RequestError
from lib.server import api_keys
from lib.server.api_keys import add_user, change_role, owner_of, read_users, remove_user
from lib.server.roles import Role


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "keys.json"


def test_a_key_is_its_owners_and_no_other_is(path: Path) -> None:
    anna, ben = add_user(path, "Anna Berg", Role.ANNOTATOR), add_user(path, "ben", Role.ADMIN)
    users = read_users(path)
    assert [(user.name, user.role) for user in users] == [
        ("Anna Berg", Role.ANNOTATOR),
        ("ben", Role.ADMIN),
    ]
    assert owner_of(users, anna) == users[0]
    assert owner_of(users, ben) == users[1]
    id_of_anna = anna.split("_")[1]
    for wrong in ("", "x", anna[:-1], anna + "x", ben.replace(ben.split("_")[1], id_of_anna)):
        assert owner_of(users, wrong) is None


def test_the_file_holds_no_key_and_only_its_owner_can_read_it(path: Path) -> None:
    key = add_user(path, "anna", Role.ANNOTATOR)
    assert path.stat().st_mode & 0o777 == 0o600
    assert key.split("_", 2)[2] not in path.read_text()
    assert not list(path.parent.glob("*.part"))


def test_two_with_the_same_key_length_have_different_salts(path: Path) -> None:
    add_user(path, "anna", Role.ANNOTATOR)
    add_user(path, "ben", Role.ANNOTATOR)
    first, second = read_users(path)
    assert first.salt != second.salt
    assert first.hash != second.hash


def test_removed_and_changed(path: Path) -> None:
    key = add_user(path, "anna", Role.ANNOTATOR)
    change_role(path, "anna", Role.TRAINER)
    user = owner_of(read_users(path), key)
    assert user is not None and user.role is Role.TRAINER
    remove_user(path, "anna")
    assert owner_of(read_users(path), key) is None
    with pytest.raises(NotFoundError, match="'anna'"):
        remove_user(path, "anna")
    with pytest.raises(NotFoundError, match="nobody has a key"):
        change_role(path, "anna", Role.ADMIN)


@pytest.mark.parametrize("name", ["", " ", " anna", "a\nb", "a/b", "x" * 65, '"', "a\0"])
def test_names_that_are_none(path: Path, name: str) -> None:
    with pytest.raises(RequestError):
        add_user(path, name, Role.ANNOTATOR)
    assert not path.exists()


def test_a_name_has_one_key(path: Path) -> None:
    add_user(path, "anna", Role.ANNOTATOR)
    before = path.read_bytes()
    with pytest.raises(RequestError, match="somebody has"):
        add_user(path, "anna", Role.ADMIN)
    assert path.read_bytes() == before


def test_a_file_that_others_can_read_is_refused(path: Path) -> None:
    add_user(path, "anna", Role.ANNOTATOR)
    path.chmod(0o640)
    with pytest.raises(OptionError, match="chmod 600"):
        read_users(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"users": [1]}',
        '{"users": 3}',
        '{"users": [{"id": "a"}]}',
        "[" * 100_000,
        json.dumps(
            {
                "users": [
                    dict.fromkeys(("id", "name", "salt", "hash", "created"), "YQ==")
                    | {"role": "king"}
                ]
            }
        ),
        json.dumps(
            {
                "users": [
                    dict.fromkeys(("id", "name", "salt", "hash", "created"), "not base 64!")
                    | {"role": "admin"}
                ]
            }
        ),
    ],
)
def test_a_damaged_file_is_a_sentence(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(OptionError, match="damaged"):
        read_users(path)
    with pytest.raises(OptionError):
        add_user(path, "anna", Role.ANNOTATOR)
    assert path.read_text() == text


def test_a_file_that_is_not_there(path: Path) -> None:
    with pytest.raises(OptionError, match=r"scripts/users\.py add"):
        read_users(path)


def test_a_full_disk_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_user(path, "anna", Role.ANNOTATOR)
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(api_keys.os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        add_user(path, "ben", Role.ANNOTATOR)
    monkeypatch.undo()
    assert path.read_bytes() == before
    add_user(path, "ben", Role.ANNOTATOR)
    assert len(read_users(path)) == 2


def test_two_at_once_lose_nobody(path: Path) -> None:
    names = [f"user {n}" for n in range(8)]
    threads = [threading.Thread(target=add_user, args=(path, n, Role.ANNOTATOR)) for n in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(user.name for user in read_users(path)) == names

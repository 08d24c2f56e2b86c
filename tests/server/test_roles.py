"""Every route of the server and every role: who is let through, and who is not."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from lib.server.roles import GIVEN, ROLES, Role, role_named
from tests.support.prepared import run_prepared
from tests.support.server import REPOSITORY

WHO = {"nobody": Role.ANYBODY, "stranger": Role.ANYBODY} | {role.title: role for role in GIVEN}


def ask(*arguments: str) -> dict[str, Any]:
    module = "tests.support.role_matrix"
    done = run_prepared(module, *arguments, env=os.environ, cwd=REPOSITORY, timeout=240)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def matrix() -> dict[str, Any]:
    """The routes, with one more that nobody gave a role, and the guard's answers."""
    return ask("--with-a-new-route")


def test_every_route_has_a_role_and_every_role_a_route(matrix: dict[str, Any]) -> None:
    routes = {(method, template) for method, template in matrix["routes"]}
    assert routes - set(ROLES) == {("GET", "/something/new")}
    assert set(ROLES) - routes == set()


def test_each_role_is_let_through_where_it_may_and_nowhere_else(matrix: dict[str, Any]) -> None:
    wrong = []
    for method, template, who, status in matrix["answers"]:
        needed = ROLES.get((method, template))
        if needed is None:
            expected = 403
        elif needed is Role.ANYBODY or (who != "stranger" and WHO[who] >= needed):
            expected = 204
        else:
            expected = 401 if who in ("nobody", "stranger") else 403
        if status != expected:
            wrong.append((method, template, who, status, expected))
    assert wrong == []
    assert len(matrix["answers"]) == len(WHO) * len(matrix["routes"])


def test_a_route_without_a_role_is_answered_to_nobody(matrix: dict[str, Any]) -> None:
    said = {who: status for _, path, who, status in matrix["answers"] if path == "/something/new"}
    assert said == dict.fromkeys(WHO, 403)


def test_what_nobody_needs_a_key_for_changes_nothing() -> None:
    open_ = {key for key, role in ROLES.items() if role is Role.ANYBODY}
    assert {key for key in open_ if key[0] not in ("GET", "HEAD")} == {
        ("POST", "/auth/token"),
        ("POST", "/login/"),
        ("POST", "/logout/"),
    }


def test_what_removes_or_takes_all_is_for_administrators() -> None:
    removing = {key: role for key, role in ROLES.items() if key[0] == "DELETE"}
    allowed = ("/session/{session_id}", "/volume_job/{client_id}", "/train/", "/batch/infer")
    for (_, template), role in removing.items():
        assert role is Role.ADMIN or template in (*allowed, "/scoring/")
    assert ROLES["GET", "/datastore/dataset"] is Role.ADMIN


def test_names_of_roles() -> None:
    assert [role_named(role.title) for role in GIVEN] == list(GIVEN)
    with pytest.raises(KeyError):
        role_named("anybody")

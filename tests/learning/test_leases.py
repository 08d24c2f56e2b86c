"""Who has which case."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from lib.learning import leases as module
from lib.learning.leases import Leases

CASES = ("a", "b", "c")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def ask(leases: Leases, client: str | None, cases: tuple[str, ...] = CASES) -> str | None:
    """As the server does for one request."""
    leases.give_back(client, frozenset(cases))
    return leases.take(cases, client).image


def test_two_clients_never_get_the_same_case() -> None:
    leases = Leases(60, Clock())
    assert [ask(leases, client) for client in ("ann", "bob", "eve", "joe")] == ["a", "b", "c", None]
    assert leases.taken() == {"a", "b", "c"}


def test_a_lease_ends() -> None:
    clock = Clock()
    leases = Leases(60, clock)
    assert ask(leases, "ann") == "a"
    clock.now = 59
    assert ask(leases, "bob") == "b"
    clock.now = 60
    assert ask(leases, "eve") == "a"


def test_it_says_when_the_next_lease_ends() -> None:
    clock = Clock()
    leases = Leases(60, clock)
    for client in ("ann", "bob", "eve"):
        ask(leases, client)
        clock.now += 10
    handed = leases.take(CASES, "joe")
    assert handed.image is None
    assert handed.free_in == 30


def test_a_saved_case_is_free_and_not_skipped() -> None:
    leases = Leases(60, Clock())
    assert ask(leases, "ann") == "a"
    leases.release("a")
    leases.release("never leased")
    assert leases.taken() == frozenset()
    assert ask(leases, "ann", ("b", "c")) == "b"
    # Its label was removed again: it is an ordinary case.
    assert ask(leases, "ann", CASES) == "a"


def test_a_skipped_case_comes_back_after_the_others() -> None:
    leases = Leases(60, Clock())
    assert [ask(leases, "ann") for _ in range(5)] == ["a", "b", "c", "a", "b"]
    assert len(leases.taken()) == 1


def test_it_says_that_a_case_was_skipped() -> None:
    leases = Leases(60, Clock())
    ask(leases, "ann", ("a",))
    leases.give_back("ann", {"a"})
    assert "skipped" in leases.take(("a",), "ann").note


def test_a_skipped_case_is_free_for_others_at_once() -> None:
    leases = Leases(60, Clock())
    assert ask(leases, "ann") == "a"
    assert ask(leases, "ann") == "b"
    assert ask(leases, "bob") == "a"


def test_clients_without_a_name_are_all_different() -> None:
    leases = Leases(60, Clock())
    assert [ask(leases, None) for _ in range(3)] == ["a", "b", "c"]


def test_a_nameless_clients_case_comes_back_when_nothing_else_is_left() -> None:
    clock = Clock()
    leases = Leases(60, clock)
    assert ask(leases, "ann") == "a"
    for expected in ("b", "c", "b", "c"):
        clock.now += 1
        assert ask(leases, None) == expected
    assert "somebody without a client_id" in leases.take(CASES, "bob").note
    # What a client with a name has stays its own.
    assert ask(leases, None, ("a",)) is None


def test_no_seconds_means_no_leases() -> None:
    leases = Leases(0, Clock())
    assert [ask(leases, None) for _ in range(2)] == ["a", "a"]
    assert leases.taken() == frozenset()


def test_what_many_clients_skipped_is_forgotten(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(module, "MAX_CLIENTS", 2)
    leases = Leases(60, Clock())
    for client in ("ann", "bob", "eve"):
        ask(leases, client, ("a", "b", "c", "d", "e"))
    assert len(leases._skipped) == 2


def test_many_at_the_same_time_get_different_cases() -> None:
    leases, cases = Leases(60), tuple(f"case{n}" for n in range(50))
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda n: ask(leases, f"client{n}", cases), range(50)))
    assert Counter(got) == Counter(cases)

from __future__ import annotations

from lib.server.newest import NewestOnly


def test_a_newer_request_ends_the_older_one():
    newest = NewestOnly()
    with newest.request("a") as first:
        assert not first()
        with newest.request("a") as second:
            assert first()
            assert not second()
        # The newer one is done; the older one is still of no use.
        assert first()


def test_requests_with_other_keys_do_not_meet():
    newest = NewestOnly()
    with newest.request("a") as first, newest.request("b") as second:
        assert not first()
        assert not second()


def test_requests_without_a_key_never_meet():
    newest = NewestOnly()
    with newest.request(None) as first, newest.request(None) as second:
        assert not first()
        assert not second()


def test_one_after_the_other():
    newest = NewestOnly()
    for _ in range(3):
        with newest.request("a") as superseded:
            assert not superseded()
    assert not newest._newest


def test_the_third_ends_the_second_too():
    newest = NewestOnly()
    with newest.request("a") as first, newest.request("a") as second, newest.request("a") as third:
        assert first()
        assert second()
        assert not third()
    assert not newest._newest

"""The cache that is bounded by bytes."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from lib.inference.cache import ByteBoundedCache


def test_keeps_and_forgets_by_use() -> None:
    cache: ByteBoundedCache[str] = ByteBoundedCache(10)
    cache.put("a", "A", 4)
    cache.put("b", "B", 4)
    assert cache.get("a") == "A"  # now b was not used for longest
    cache.put("c", "C", 4)
    assert cache.get("b") is None
    assert (cache.get("a"), cache.get("c")) == ("A", "C")
    assert (len(cache), cache.nbytes) == (2, 8)


def test_a_value_too_large_is_not_kept_and_costs_nobody_else() -> None:
    cache: ByteBoundedCache[str] = ByteBoundedCache(10)
    cache.put("a", "A", 4)
    cache.put("b", "B", 11)
    assert cache.get("b") is None
    assert cache.get("a") == "A"


def test_replacing_counts_once() -> None:
    cache: ByteBoundedCache[str] = ByteBoundedCache(10)
    cache.put("a", "old", 8)
    cache.put("a", "new", 3)
    assert cache.get("a") == "new"
    assert cache.nbytes == 3


def test_clear() -> None:
    cache: ByteBoundedCache[int] = ByteBoundedCache(10)
    cache.put("a", 1, 5)
    cache.clear()
    assert (len(cache), cache.nbytes, cache.get("a")) == (0, 0, None)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 12)), max_size=60))
def test_never_above_its_bound(puts: list[tuple[int, int]]) -> None:
    cache: ByteBoundedCache[int] = ByteBoundedCache(10)
    for key, nbytes in puts:
        cache.put(key, key, nbytes)
        assert cache.nbytes <= 10
        assert cache.get(key) == (key if nbytes <= 10 else None)


def test_threads_do_not_lose_count() -> None:
    cache: ByteBoundedCache[int] = ByteBoundedCache(100)

    def work(seed: int) -> None:
        for i in range(500):
            cache.put((seed * i) % 37, i, (i * 7) % 13)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2, 3, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.nbytes == sum(nbytes for _, nbytes in cache._entries.values()) <= 100

"""Selections as bits and as rows, and how many of them are kept."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_service.stores.selections import SelectionCache, selection_of
from rag_service.types import Selection


def of_rows(count: int) -> Selection:
    """`count` rows of a thousand: 8 bytes for each, and 125 bytes of bits."""
    return selection_of(np.arange(1000) < count, documents=1)


@given(st.lists(st.booleans(), max_size=40))
def test_rows_and_bits_say_the_same(mask: list[bool]) -> None:
    selection = selection_of(np.array(mask, np.bool_), documents=1)
    assert selection.positions.tolist() == [row for row, permitted in enumerate(mask) if permitted]
    assert [bool(selection.bitmap[row // 8] >> row % 8 & 1) for row in range(len(mask))] == mask
    assert selection.bitmap.nbytes == -(-len(mask) // 8)
    assert selection.positions.dtype == np.int64


def test_what_was_used_last_stays_and_what_was_not_goes() -> None:
    cache = SelectionCache(max_bytes=3 * (1000 + 125 + 800))
    kept = {name: of_rows(100) for name in "abcd"}
    for name in "abc":
        cache.put(name, kept[name])
    assert cache.size_bytes == 3 * 1925
    assert cache.get("a") is kept["a"]
    cache.put("d", kept["d"])
    assert [cache.get(name) for name in "abcd"] == [kept["a"], None, kept["c"], kept["d"]]
    assert cache.size_bytes == 3 * 1925


def test_a_large_selection_takes_the_place_of_several_and_too_large_a_one_is_not_kept() -> None:
    cache = SelectionCache(max_bytes=8000)
    for name in "abcd":
        cache.put(name, of_rows(50))
    cache.put("large", of_rows(750))
    assert [cache.get(name) is None for name in (*"abcd", "large")] == [True, True, True, True, False]
    cache.put("too large", of_rows(1000))
    assert cache.get("too large") is None
    assert cache.get("large") is not None


def test_what_is_put_twice_is_counted_once() -> None:
    cache = SelectionCache(max_bytes=100_000)
    cache.put("a", of_rows(10))
    cache.put("a", latest := of_rows(100))
    assert cache.get("a") is latest
    assert cache.size_bytes == 1925


@pytest.mark.parametrize("max_bytes", [0, 10_000])
def test_from_several_threads_the_bound_holds_and_nobody_gets_anothers(max_bytes: int) -> None:
    cache = SelectionCache(max_bytes)
    selections = {str(number): of_rows(number) for number in range(40)}

    def use(number: int) -> bool:
        name = str(number % 40)
        found = cache.get(name)
        cache.put(name, selections[name])
        return found in (None, selections[name]) and cache.size_bytes <= max_bytes

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(use, range(2000)))

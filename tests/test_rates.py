"""Token buckets: what gets through in a minute, and that no number of names gets more through than it should."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rag_service.rates import Rates, SharedRates


def test_a_minutes_worth_is_let_through_at_once_and_then_one_at_a_time() -> None:
    rates = Rates(10)
    assert [rates.take("a", 20, 100.0) for _ in range(20)] == [None] * 20
    assert rates.take("a", 20, 100.0) == pytest.approx(3.0)
    assert rates.take("a", 20, 101.0) == pytest.approx(2.0)
    assert rates.take("a", 20, 103.0) is None
    assert rates.take("a", 20, 103.0) == pytest.approx(3.0)


def test_whoever_waits_as_told_is_let_through() -> None:
    rates = Rates(10)
    rates.take("a", 1, 5.0)
    wait_s = rates.take("a", 1, 5.0)
    assert wait_s == pytest.approx(60.0)
    assert rates.take("a", 1, 5.0 + wait_s) is None


def test_being_refused_costs_nothing() -> None:
    rates = Rates(10)
    for _ in range(60):
        rates.take("a", 60, 0.0)
    for _ in range(1000):
        assert rates.take("a", 60, 0.5) == pytest.approx(0.5)
    assert rates.take("a", 60, 1.0) is None


def test_a_rate_of_nothing_is_a_rate_of_one() -> None:
    rates = Rates(10)
    assert rates.take("a", 0, 0.0) is None
    assert rates.take("a", 0, 0.0) == pytest.approx(60.0)


def test_one_name_does_not_spend_what_another_has() -> None:
    rates = Rates(10)
    assert rates.take("a", 1, 0.0) is None
    assert rates.take("b", 1, 0.0) is None
    assert rates.take("a", 1, 0.0) is not None


def test_a_rate_may_change_while_it_is_used() -> None:
    rates = Rates(10)
    for _ in range(10):
        assert rates.take("a", 10, 0.0) is None
    assert rates.take("a", 60, 0.0) == pytest.approx(1.0)
    assert rates.take("a", 60, 1.0) is None


def test_more_names_than_there_is_room_for_share_one_bucket() -> None:
    rates = Rates(3)
    for number in range(3):
        rates.take(f"known {number}", 2, 0.0)
    let_through = [rates.take(f"flood {number}", 2, 0.0) for number in range(100)]
    assert let_through[:2] == [None, None]
    assert all(wait_s is not None for wait_s in let_through[2:])
    assert len(rates) == 3
    assert rates.take("known 0", 2, 0.0) is None, "those who were there first keep what they have"


def test_a_bucket_that_is_full_again_makes_room_and_only_that_one() -> None:
    rates = Rates(2)
    rates.take("slow", 1, 0.0)
    rates.take("quick", 60, 0.0)
    assert rates.take("new", 1, 30.0) is None  # from the shared bucket: the oldest is not full yet
    assert rates.take("slow", 1, 30.0) == pytest.approx(30.0)
    assert rates.take("other", 1, 91.0) is None
    assert len(rates) == 2


def test_whoever_has_used_up_the_shared_bucket_gets_no_fresh_one_when_there_is_room_again() -> None:
    rates = Rates(1)
    rates.take("first", 60, 0.0)  # full again at 1.0
    assert [rates.take("flood", 60, 0.5) for _ in range(60)] == [None] * 60
    assert rates.take("flood", 60, 1.0) == pytest.approx(0.5)  # in a bucket of its own now, with half a token
    assert rates.take("flood", 60, 1.5) is None


Events = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 20)), max_size=200)


@example(  # sums to a wait of 60.000000000000014 s
    [("a", 0.0), ("a", 9.566254075584279), ("a", 19.170041039724286), ("a", 19.886825877304904), ("a", 19.87308203132093), ("a", 0.0)], 1, 1
)
@settings(max_examples=100)
@given(Events, st.integers(1, 30), st.integers(1, 3))
def test_no_name_is_let_through_more_often_than_its_rate_however_many_others_come(
    events: list[tuple[str, float]], n: int, room: int
) -> None:
    rates, now_s = Rates(room), 0.0
    passed: dict[str, list[float]] = {}
    for name, after_s in events:
        now_s += after_s
        wait_s = rates.take(name, n, now_s)
        assert wait_s is None or 0 < wait_s <= 60 / n
        if wait_s is None:
            passed.setdefault(name, []).append(now_s)
        assert len(rates) <= room
    for times in passed.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                assert last - first + 1 <= n + n * (times[last] - times[first]) / 60 + 1e-3


@settings(max_examples=50)
@given(Events, st.integers(1, 30))
def test_with_room_for_all_each_name_fares_as_if_it_were_alone(events: list[tuple[str, float]], n: int) -> None:
    together, alone, now_s = Rates(8), {name: Rates(1) for name in "abcdefgh"}, 0.0
    for name, after_s in events:
        now_s += after_s
        assert together.take(name, n, now_s) == alone[name].take(name, n, now_s)


def test_names_that_anybody_can_make_up_never_get_through_more_often_than_all_slots_together() -> None:
    shared = SharedRates(8, 5)
    assert sum(shared.take(f"made up {number}", 0.0) is None for number in range(5000)) == 8 * 5


def test_a_shared_rate_holds_for_each_name() -> None:
    shared = SharedRates(4096, 20)
    taken = [shared.take("203.0.113.7", 0.0) for _ in range(21)]
    assert taken[:20] == [None] * 20
    assert taken[20] == pytest.approx(3.0)
    assert shared.take("203.0.113.7", 3.0) is None


def test_which_names_share_a_slot_differs_from_one_server_to_the_next() -> None:
    def neighbours(shared: SharedRates) -> list[bool]:
        return [shared.take(f"name {number}", 0.0) is not None for number in range(256)]

    assert neighbours(SharedRates(64, 1)) != neighbours(SharedRates(64, 1))


def test_a_name_may_be_any_text() -> None:
    assert SharedRates(4, 1).take("\ud800 \x00 ☃" * 1000, 0.0) is None

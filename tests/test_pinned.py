"""Releases beside the active one: a few are kept open, one is opened at a time, and what is dropped ends with its last reader."""

import dataclasses
import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from rag_service.ask import Pipeline
from rag_service.errors import Damaged, DeadlineExceeded, NotFound
from rag_service.pinned import Pinned
from rag_service.question import Question
from tests.doubles import HOLIDAYS


class Opens:
    """Gives a pipeline of its own for each release, and remembers which were asked for."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.opened: list[str] = []

    def __call__(self, release_id: str) -> Pipeline:
        self.opened.append(release_id)
        if release_id == "damaged":
            raise Damaged("a bit is wrong")
        return dataclasses.replace(self._pipeline)


@pytest.fixture
def opens(pipeline: Pipeline) -> Opens:
    return Opens(pipeline)


def test_a_release_is_opened_once_and_then_there(opens: Opens) -> None:
    pinned = Pinned(opens, most=2)
    assert pinned.get("one") is None
    first = pinned.open("one", deadline_s=None)
    assert pinned.open("one", deadline_s=None) is pinned.get("one") is first
    assert opens.opened == ["one"]


def test_the_least_recently_used_goes_when_there_are_too_many(opens: Opens) -> None:
    pinned = Pinned(opens, most=2)
    for release in ("one", "two"):
        pinned.open(release, deadline_s=None)
    pinned.get("one")
    pinned.open("three", deadline_s=None)
    assert [pinned.get(release) is not None for release in ("one", "two", "three")] == [True, False, True]


def test_a_release_that_was_dropped_is_whole_for_who_holds_it_and_gone_after(opens: Opens) -> None:
    pinned = Pinned(opens, most=1)
    reader = pinned.open("one", deadline_s=None)
    old = weakref.ref(reader)
    pinned.open("two", deadline_s=None)
    gc.collect()
    assert reader.ask(Question(HOLIDAYS)).status == "answered"
    del reader
    gc.collect()
    assert old() is None


def test_with_none_to_keep_only_the_active_release_answers(opens: Opens) -> None:
    with pytest.raises(NotFound, match="not the active one") as caught:
        Pinned(opens, most=0).open("one", deadline_s=None)
    assert caught.value.param == "release"
    assert "RAG_PINNED_RELEASES" in caught.value.hint
    assert opens.opened == []


def test_what_opening_raises_comes_through_and_the_next_may_try(opens: Opens) -> None:
    pinned = Pinned(opens, most=2)
    for _ in range(2):
        with pytest.raises(Damaged):
            pinned.open("damaged", deadline_s=time.monotonic() + 5)
    assert pinned.get("damaged") is None
    assert pinned.open("one", deadline_s=time.monotonic() + 5) is not None


class Slow(Opens):
    """Opens when it is told to, and counts how many are opened at once."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline)
        self.begun, self.go = threading.Event(), threading.Event()
        self.now = self.most = 0

    def __call__(self, release_id: str) -> Pipeline:
        self.now += 1
        self.most = max(self.most, self.now)
        self.begun.set()
        assert self.go.wait(10)
        found = super().__call__(release_id)
        self.now -= 1
        return found


def test_one_is_opened_at_a_time_and_each_once(pipeline: Pipeline) -> None:
    slow = Slow(pipeline)
    pinned, names = Pinned(slow, most=4), ["one", "two", "one", "two", "one", "one"]
    with ThreadPoolExecutor(len(names)) as pool:
        asked = [pool.submit(pinned.open, name, deadline_s=None) for name in names]
        assert slow.begun.wait(10)
        slow.go.set()
        found = [future.result(10) for future in asked]
    assert slow.most == 1
    assert sorted(slow.opened) == ["one", "two"]
    assert len({id(pipeline) for pipeline in found}) == 2


def test_who_waits_for_an_opening_waits_no_longer_than_the_deadline(pipeline: Pipeline) -> None:
    slow = Slow(pipeline)
    pinned = Pinned(slow, most=2)
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(pinned.open, "one", deadline_s=None)
        assert slow.begun.wait(10)
        for deadline_s in (time.monotonic() + 0.02, time.monotonic() - 1):
            with pytest.raises(DeadlineExceeded) as caught:
                pinned.open("two", deadline_s=deadline_s)
            assert caught.value.stage == "open"
        slow.go.set()
        assert opening.result(10) is pinned.get("one")
    assert slow.opened == ["one"]


def test_what_is_open_is_given_at_once_while_another_is_being_opened(pipeline: Pipeline) -> None:
    slow = Slow(pipeline)
    slow.go.set()
    pinned = Pinned(slow, most=2)
    first = pinned.open("one", deadline_s=None)
    slow.go.clear()
    slow.begun.clear()
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(pinned.open, "two", deadline_s=None)
        assert slow.begun.wait(10)
        assert pinned.open("one", deadline_s=time.monotonic() - 1) is first
        slow.go.set()
        opening.result(10)


class HeldUpAfterwards:
    """A lock whose owner, once it has let the next one in, is held up for a moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def acquire(self, *, timeout: float) -> bool:
        return self._lock.acquire(timeout=timeout)

    def release(self) -> None:
        self._lock.release()
        time.sleep(0.01)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_who_waited_for_an_opening_finds_it_there(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag_service.pinned.threading", SimpleNamespace(Lock=HeldUpAfterwards))
    slow = Slow(pipeline)
    pinned = Pinned(slow, most=2)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(pinned.open, "one", deadline_s=None) for _ in range(4)]
        assert slow.begun.wait(10)
        slow.go.set()
        assert len({id(future.result(10)) for future in asked}) == 1
    assert slow.opened == ["one"]

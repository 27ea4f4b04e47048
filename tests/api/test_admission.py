"""Who computes, who waits, who is turned away: on a real event loop with real threads."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_service.api.admission import Admission
from rag_service.cancellation import Cancellation
from rag_service.errors import DeadlineExceeded, QueueFull, ShuttingDown


def soon() -> float:
    return time.monotonic() + 30


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # what is waited for happens in threads
            await asyncio.sleep(0.001)


@dataclass
class Blocked:
    """Work that runs until it is let go."""

    started: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> str:
        self.started.set()
        assert self.go.wait(20)
        return "done"


Task = asyncio.Task[Any]


def ask(
    admission: Admission, work: Callable[[], Any], *, deadline_s: float | None = None, cancellation: Cancellation | None = None
) -> Task:
    return asyncio.create_task(admission.run(work, deadline_s=deadline_s or soon(), cancellation=cancellation or Cancellation()))


def test_a_free_slot_is_taken_at_once_and_the_result_comes_back() -> None:
    async def story() -> None:
        with Admission(1, 0) as admission:
            assert await admission.run(lambda: 42, deadline_s=soon(), cancellation=Cancellation()) == 42
            assert (admission.running, admission.waiting) == (0, 0)

    asyncio.run(story())


@pytest.mark.parametrize(
    "error", [ValueError("no"), StopIteration("no"), DeadlineExceeded("no", stage="embed")], ids=lambda error: type(error).__name__
)
def test_what_the_work_raises_comes_through_and_frees_its_slot(error: Exception) -> None:
    def fails() -> None:
        raise error

    async def story() -> None:
        with Admission(1, 0) as admission:
            for _ in range(3):
                with pytest.raises((type(error), RuntimeError), match=r"no|StopIteration"):  # a coroutine may not raise StopIteration
                    await admission.run(fails, deadline_s=soon(), cancellation=Cancellation())
            assert admission.running == 0

    asyncio.run(story())


def test_work_sees_the_context_of_its_caller() -> None:
    caller: ContextVar[str] = ContextVar("caller")

    async def story() -> None:
        with Admission(1, 5) as admission:

            async def one(name: str) -> str:
                caller.set(name)
                return await admission.run(caller.get, deadline_s=soon(), cancellation=Cancellation())

            names = [str(number) for number in range(5)]
            assert await asyncio.gather(*map(one, names)) == names

    asyncio.run(story())


def test_beyond_the_queue_a_request_is_refused_and_told_when_to_come_back() -> None:
    shed: list[str] = []

    async def story() -> None:
        with Admission(2, 3, observe=shed.append) as admission:
            work = [Blocked() for _ in range(5)]
            tasks = [ask(admission, one) for one in work]
            await asyncio.sleep(0)
            assert (admission.running, admission.waiting, admission.full) == (2, 3, True)
            with pytest.raises(QueueFull) as refused:
                await admission.run(str, deadline_s=soon(), cancellation=Cancellation())
            assert refused.value.retry_after_s is not None
            assert 1 <= refused.value.retry_after_s <= 60
            with pytest.raises(QueueFull):
                admission.check()
            assert shed == ["queue_full", "queue_full"]
            for one in work:
                one.go.set()
            assert await asyncio.gather(*tasks) == ["done"] * 5
            assert (admission.running, admission.waiting, admission.full) == (0, 0, False)

    asyncio.run(story())


def test_the_time_until_there_is_room_follows_from_the_queue_and_from_how_long_work_takes() -> None:
    async def story() -> None:
        with Admission(2, 9) as admission:
            await admission.run(lambda: time.sleep(0.5), deadline_s=soon(), cancellation=Cancellation())
            work = Blocked()
            tasks = [ask(admission, work) for _ in range(11)]
            await asyncio.sleep(0)
            with pytest.raises(QueueFull) as refused:
                admission.check()
            assert refused.value.retry_after_s == 3  # (9 + 1) × 0.5 s in 2 slots is 2.5 s, or a little more
            work.go.set()
            await asyncio.gather(*tasks)

    asyncio.run(story())


def test_who_has_waited_longest_is_next() -> None:
    order: list[int] = []

    async def story() -> None:
        with Admission(1, 200) as admission:
            first = Blocked()
            tasks = [ask(admission, first), *(ask(admission, lambda number=number: order.append(number)) for number in range(200))]
            await until(lambda: admission.waiting == 200)
            first.go.set()
            await asyncio.gather(*tasks)

    asyncio.run(story())
    assert order == list(range(200))


def test_nobody_overtakes_between_the_end_of_one_and_the_start_of_the_next() -> None:
    order: list[str] = []

    async def story() -> None:
        with Admission(1, 5) as admission:
            first = Blocked()
            holds, waits = ask(admission, first), ask(admission, lambda: order.append("waited"))
            await until(lambda: admission.waiting == 1)
            first.go.set()
            await holds
            await asyncio.gather(waits, ask(admission, lambda: order.append("came later")))

    asyncio.run(story())
    assert order == ["waited", "came later"]


def test_work_whose_time_is_over_in_the_queue_never_starts() -> None:
    shed: list[str] = []
    started: list[int] = []

    async def story() -> None:
        with Admission(1, 5, observe=shed.append) as admission:
            first = Blocked()
            holds = ask(admission, first)
            late = [ask(admission, lambda: started.append(1), deadline_s=time.monotonic() + 0.05) for _ in range(3)]
            for error in await asyncio.gather(*late, return_exceptions=True):  # while the first still runs
                assert isinstance(error, DeadlineExceeded)
                assert error.stage == "queue"
            assert (admission.running, admission.waiting) == (1, 0)
            with pytest.raises(DeadlineExceeded):
                await admission.run(str, deadline_s=time.monotonic(), cancellation=Cancellation())
            first.go.set()
            assert await holds == "done"

    asyncio.run(story())
    assert started == []
    assert shed == ["expired"] * 4


def test_work_whose_time_is_over_does_not_start_in_a_free_slot_either() -> None:
    async def story() -> None:
        with Admission(1, 0) as admission:
            with pytest.raises(DeadlineExceeded):
                await admission.run(str, deadline_s=time.monotonic(), cancellation=Cancellation())
            assert admission.running == 0

    asyncio.run(story())


def test_a_turn_that_comes_too_late_goes_to_the_next() -> None:
    async def story() -> None:
        with Admission(1, 5) as admission:
            first = Blocked()
            holds = ask(admission, first)
            late, good = ask(admission, str, deadline_s=time.monotonic() + 0.1), ask(admission, lambda: "good")
            await asyncio.to_thread(first.started.wait, 20)
            first.go.set()
            time.sleep(0.2)  # the event loop is held up: the end of the first and the deadline are seen together
            assert await holds == "done"
            with pytest.raises(DeadlineExceeded):
                await late
            assert await good == "good"
            assert admission.running == 0

    asyncio.run(story())


def test_a_client_that_goes_while_it_waits_leaves_its_place_to_another() -> None:
    async def story() -> None:
        with Admission(1, 1) as admission:
            first, cancellation = Blocked(), Cancellation()
            holds, gone = ask(admission, first), ask(admission, str, cancellation=cancellation)
            await until(lambda: admission.waiting == 1)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            assert admission.waiting == 0
            good = ask(admission, lambda: "good")
            await until(lambda: admission.waiting == 1)
            first.go.set()
            assert (await holds, await good) == ("done", "good")
            assert admission.running == 0

    asyncio.run(story())


def test_a_client_that_goes_in_the_moment_its_turn_comes_does_not_keep_the_slot() -> None:
    async def story() -> None:
        with Admission(1, 2) as admission:
            first = Blocked()
            holds = ask(admission, first)
            gone, next_one = ask(admission, str), ask(admission, lambda: "next")
            await until(lambda: admission.waiting == 2)
            first.go.set()
            while admission.waiting == 2:  # exactly until the turn has been given and not yet taken
                await asyncio.sleep(0)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            assert (await holds, await next_one) == ("done", "next")
            assert (admission.running, admission.waiting) == (0, 0)

    asyncio.run(story())


def test_when_the_client_goes_the_work_is_told_and_its_slot_stays_taken_until_it_ends() -> None:
    async def story() -> None:
        with Admission(1, 5) as admission:
            first, cancellation = Blocked(), Cancellation()
            holds = ask(admission, first, cancellation=cancellation)
            await asyncio.to_thread(first.started.wait, 20)
            holds.cancel()
            with pytest.raises(asyncio.CancelledError):
                await holds
            assert cancellation.cancelled
            second = Blocked()
            waits = ask(admission, second)
            await until(lambda: admission.waiting == 1)
            assert (admission.running, second.started.is_set()) == (1, False)
            first.go.set()
            second.go.set()
            assert await waits == "done"
            assert admission.running == 0

    asyncio.run(story())


def test_once_the_queue_is_closed_new_work_is_refused_and_what_waits_goes_on() -> None:
    async def story() -> None:
        with Admission(1, 5) as admission:
            first = Blocked()
            holds, waits = ask(admission, first), ask(admission, lambda: "waited")
            await until(lambda: admission.waiting == 1)
            admission.close_queue()
            with pytest.raises(ShuttingDown):
                await admission.run(str, deadline_s=soon(), cancellation=Cancellation())
            first.go.set()
            assert (await holds, await waits) == ("done", "waited")

    asyncio.run(story())


def test_what_has_not_been_opened_fails_and_keeps_no_slot() -> None:
    async def story() -> None:
        admission = Admission(1, 0)
        with pytest.raises(RuntimeError):
            await admission.run(str, deadline_s=soon(), cancellation=Cancellation())
        assert admission.running == 0

    asyncio.run(story())


@dataclass
class Crowd:
    """Hundreds of requests with their own patience. Says whether the limits ever were exceeded."""

    admission: Admission
    seed: int
    running: int = 0
    most_running: int = 0
    most_waiting: int = 0
    started: list[int] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)
    change: threading.Lock = field(default_factory=threading.Lock)

    def work(self, number: int, takes_s: float) -> int:
        with self.change:
            self.started.append(number)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        time.sleep(takes_s)
        with self.change:
            self.running -= 1
        return number

    async def one(self, number: int, dice: random.Random) -> None:
        await asyncio.sleep(dice.random() * 0.3)
        deadline_s = time.monotonic() + dice.choice([0.0, 0.02, 0.1, 30.0])
        takes_s = dice.choice([0.0, 0.001, 0.005])
        run = asyncio.create_task(
            self.admission.run(lambda: self.work(number, takes_s), deadline_s=deadline_s, cancellation=Cancellation())
        )
        if dice.random() < 0.4:
            await asyncio.sleep(dice.random() * 0.02)
            run.cancel()
        while not run.done():
            self.most_waiting = max(self.most_waiting, self.admission.waiting)
            await asyncio.wait({run}, timeout=0.005)
        try:
            end = "answered" if run.result() == number else "another's answer"
        except (QueueFull, DeadlineExceeded, asyncio.CancelledError) as error:
            end = type(error).__name__
        self.ends[end] = self.ends.get(end, 0) + 1

    async def come(self, count: int) -> None:
        dice = random.Random(self.seed)
        await asyncio.gather(*(self.one(number, random.Random(dice.random())) for number in range(count)))


@settings(max_examples=12, deadline=None)
@given(max_running=st.integers(1, 4), max_waiting=st.integers(0, 20), seed=st.integers(0, 2**32))
def test_whatever_clients_do_the_limits_hold_and_no_slot_is_lost(max_running: int, max_waiting: int, seed: int) -> None:
    async def story() -> Crowd:
        with Admission(max_running, max_waiting) as admission:
            crowd = Crowd(admission, seed)
            await crowd.come(300)
            await until(lambda: admission.running == 0)
            assert admission.waiting == 0
            blocked = [Blocked() for _ in range(max_running)]
            tasks = [ask(admission, work) for work in blocked]
            for work in blocked:
                assert await asyncio.to_thread(work.started.wait, 20)  # every slot is there again
                work.go.set()
            await asyncio.gather(*tasks)
        return crowd

    crowd = asyncio.run(story())
    assert crowd.most_running <= max_running
    assert crowd.most_waiting <= max_waiting
    assert set(crowd.ends) <= {"answered", "QueueFull", "DeadlineExceeded", "CancelledError"}
    assert sum(crowd.ends.values()) == 300
    assert len(crowd.started) == len(set(crowd.started))


def test_a_refusal_costs_next_to_nothing_while_every_thread_computes() -> None:
    stop = threading.Event()

    def burn() -> None:
        while not stop.is_set():
            sum(range(1000))

    async def refusals(admission: Admission) -> list[float]:
        """CPU seconds of this thread for each."""
        took_s = []
        for _ in range(50):
            began_s = time.thread_time()
            with pytest.raises(QueueFull):
                await admission.run(str, deadline_s=soon(), cancellation=Cancellation())
            took_s.append(time.thread_time() - began_s)
        return took_s

    async def story() -> None:
        with Admission(2, 0) as admission:
            tasks = [ask(admission, burn) for _ in range(2)]
            await asyncio.sleep(0.05)
            took_s = await refusals(admission)
            stop.set()
            await asyncio.gather(*tasks)
        assert sorted(took_s)[25] < 0.005

    asyncio.run(story())

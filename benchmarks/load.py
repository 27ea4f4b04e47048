"""A served demo index under load: what it answers at capacity and at ten times that, how fast it refuses, and how soon it recovers.

The service runs as its own process with default settings and the extractive generator. Every question is another one, and none may be
answered from the cache. The client is this process, on the same cores: its share of a core is printed with each row.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from benchmarks.server import Connection, Served, demo_indexes, percentile, service

ROUNDS = 2
CLOSED_S, OPEN_S = 5.0, 15.0
CLIENTS = (1, 8, 32)
CAPACITY_CLIENTS = 8
"""As many as the least that keep two cores busy without being refused."""
OVERLOAD = 10
CONNECTIONS = 200
"""Of the open loop: enough that a request which waits for its answer keeps no other from being sent."""
PROBE_EVERY_S = 0.02
RECOVERED_WITHIN_S = 30.0


@dataclass(slots=True)
class Window:
    """What a client saw while load was on."""

    seconds: float = 0.0
    answered_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    failed: int = 0
    live_ms: list[float] = field(default_factory=list)
    client_cpu_s: float = 0.0
    server_cpu_s: float = 0.0

    def add(self, status: int, took_ms: float) -> None:
        if status == 200:
            self.answered_ms.append(took_ms)
        elif status == 429:
            self.refused_ms.append(took_ms)
        else:
            self.failed += 1

    @property
    def goodput(self) -> float:
        """Answers per second."""
        return len(self.answered_ms) / self.seconds

    @property
    def answers_per_cpu_s(self) -> float:
        """Goodput for each core that the server really got: the figure that other processes on the machine change least."""
        return len(self.answered_ms) / max(self.server_cpu_s, 0.01)


def run() -> None:
    numbers = itertools.count()
    with demo_indexes() as indexes, service(indexes) as served:
        asyncio.run(_closed(served, 4, 2.0, numbers))  # warm
        for number in range(1, ROUNDS + 1):
            print(f"-- round {number}", flush=True)
            asyncio.run(_round(served, numbers))


async def _round(served: Served, numbers: Iterator[int]) -> None:
    print(_HEAD)
    windows = {}
    for clients in CLIENTS:
        windows[clients] = await _closed(served, clients, CLOSED_S, numbers)
        print(_row(f"{clients} at a time", windows[clients]), flush=True)
    at_capacity = windows[CAPACITY_CLIENTS]
    capacity = at_capacity.goodput
    overload, recovered_s = await _open(served, OVERLOAD * capacity, percentile(windows[1].answered_ms, 0.99), numbers)
    print(_row(f"{OVERLOAD * capacity:.0f} a second", overload))
    print(
        f"goodput at {OVERLOAD} × capacity: {overload.goodput / capacity:.0%} of capacity; recovered after {recovered_s:.2f} s", flush=True
    )


async def _closed(served: Served, clients: int, seconds: float, numbers: Iterator[int]) -> Window:
    """Each client asks again as soon as it has a reply, a refusal included."""
    window = Window()
    until_s = time.perf_counter() + seconds

    async def client() -> None:
        async with Connection(served.port) as connection:
            while time.perf_counter() < until_s:
                await _ask(connection, window, next(numbers), time.perf_counter())

    async with _Watch(served, window):
        await asyncio.gather(*(client() for _ in range(clients)))
    return window


async def _open(served: Served, rate: float, unloaded_ms: float, numbers: Iterator[int]) -> tuple[Window, float]:
    """Requests come at `rate` a second whatever becomes of them; the time of each counts from when it was due.

    Also seconds from the end of the load until an answer takes no longer than `unloaded_ms`.
    """
    window = Window()
    due: asyncio.Queue[float] = asyncio.Queue()

    async def client(connection: Connection) -> None:
        while True:
            await _ask(connection, window, next(numbers), await due.get())

    async with AsyncExitStack() as connections:
        opened = [await connections.enter_async_context(Connection(served.port)) for _ in range(CONNECTIONS)]
        clients = [asyncio.create_task(client(connection)) for connection in opened]
        async with _Watch(served, window):
            began_s = time.perf_counter()
            sent = 0
            while (now_s := time.perf_counter()) - began_s < OPEN_S:
                for _ in range(sent, int((now_s - began_s) * rate)):
                    due.put_nowait(began_s + sent / rate)
                    sent += 1
                await asyncio.sleep(0.001)
        recovered_s = await _recovery(served, unloaded_ms, numbers)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    return window, recovered_s


async def _ask(connection: Connection, window: Window, number: int, due_s: float) -> None:
    status, _ = await connection.ask(f"How do I roll back to release number {number} of the index?", cache=False)
    window.add(status, (time.perf_counter() - due_s) * 1000)


async def _recovery(served: Served, unloaded_ms: float, numbers: Iterator[int]) -> float:
    ended_s = time.perf_counter()
    async with Connection(served.port) as connection:
        while (now_s := time.perf_counter()) - ended_s < RECOVERED_WITHIN_S:
            one = Window()
            await _ask(connection, one, next(numbers), now_s)
            if one.answered_ms and one.answered_ms[0] <= unloaded_ms:
                return time.perf_counter() - ended_s
            await asyncio.sleep(0.01)
    return float("inf")


class _Watch:
    """Probes liveness on a connection of its own while the block runs, and counts the processor time of both sides."""

    def __init__(self, served: Served, window: Window) -> None:
        self._served, self._window = served, window

    async def __aenter__(self) -> None:
        self._began = time.perf_counter(), time.process_time(), self._served.cpu_s()
        self._probes = asyncio.create_task(self._probe())

    async def __aexit__(self, *_: object) -> None:
        began_s, client_s, server_s = self._began
        self._window.seconds = time.perf_counter() - began_s
        self._window.client_cpu_s = time.process_time() - client_s
        self._window.server_cpu_s = self._served.cpu_s() - server_s
        self._probes.cancel()
        await asyncio.gather(self._probes, return_exceptions=True)

    async def _probe(self) -> None:
        async with Connection(self._served.port) as connection:
            while True:
                began_s = time.perf_counter()
                await connection.send(b"GET", b"/health/live")
                self._window.live_ms.append((time.perf_counter() - began_s) * 1000)
                await asyncio.sleep(PROBE_EVERY_S)


_HEAD = (
    f"{'load':<16}{'answers/s':>10}{'/CPU-s':>8}{'p50 ms':>9}{'p99 ms':>9}{'shed':>7}{'429 p50':>9}{'p99':>7}{'max':>7}"
    f"{'live p99':>10}{'max':>7}{'failed':>8}{'server':>8}{'client':>8}"
)


def _row(name: str, window: Window) -> str:
    answered, refused, live = window.answered_ms, window.refused_ms, window.live_ms
    total = len(answered) + len(refused) + window.failed
    return (
        f"{name:<16}{window.goodput:>10.1f}{window.answers_per_cpu_s:>8.1f}"
        f"{percentile(answered, 0.5):>9.0f}{percentile(answered, 0.99):>9.0f}{len(refused) / total:>7.0%}"
        f"{percentile(refused, 0.5):>9.1f}{percentile(refused, 0.99):>7.1f}{percentile(refused, 1):>7.1f}"
        f"{percentile(live, 0.99):>10.1f}{percentile(live, 1):>7.1f}{window.failed:>8}"
        f"{window.server_cpu_s / window.seconds:>8.2f}{window.client_cpu_s / window.seconds:>8.2f}"
    )

"""Memory of one server over many different questions, with the cache on as it is by default.

Each question asks for one passage (`top_k` 1), and three of four ask for a score that no passage has, so that the service abstains.
That makes them cheap: what is looked for is memory that is not given back.
"""

import asyncio
import itertools
import time

from benchmarks.server import Connection, Served, demo_indexes, percentile, service

WARM = 500
EVERY, ASKS = 5_000, 20_000
CLIENTS = 8
ANSWERED_EVERY = 4
AT_MOST_S = 330


def run() -> None:
    numbers = itertools.count()
    until_s = time.monotonic() + AT_MOST_S
    with demo_indexes() as indexes, service(indexes) as served:
        _tell(served, "ready", [])
        _tell(served, f"warm, {WARM:,} asks", asyncio.run(_ask_many(served, numbers, WARM)))
        for asked in range(EVERY, ASKS + 1, EVERY):
            if time.monotonic() > until_s:
                print(f"stopped after {AT_MOST_S} s")
                break
            _tell(served, f"{asked:,} asks", asyncio.run(_ask_many(served, numbers, EVERY)))


def _tell(served: Served, when: str, took_ms: list[float]) -> None:
    print(f"{when:<18}{served.resident_mib():8.1f} MiB resident   p50 of an answer {percentile(took_ms, 0.5):6.1f} ms", flush=True)


async def _ask_many(served: Served, numbers: "itertools.count[int]", count: int) -> list[float]:
    """Milliseconds of each."""
    took_ms: list[float] = []
    left = iter(range(count))

    async def client() -> None:
        async with Connection(served.port) as connection:
            for _ in left:
                began_s = time.perf_counter()
                number = next(numbers)
                min_confidence = 0.35 if number % ANSWERED_EVERY == 0 else 0.99
                question = f"How do I roll back to release number {number} of the index?"
                status, body = await connection.ask(question, top_k=1, min_confidence=min_confidence)
                if status != 200:
                    raise RuntimeError(f"{status}: {body.decode()}")
                took_ms.append((time.perf_counter() - began_s) * 1000)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return took_ms

"""What a record costs: an ask that the cache answers, with its record written durably, against one that keeps none.

Two servers, in interleaved rounds; the answers come from the cache, so that the record is a large part of what is measured. With several
clients at once, their records share one wait for the disk.
"""

import asyncio
import statistics
import time

from benchmarks.server import Connection, Served, demo_indexes, service

ROUNDS = 5
ROUND_S = 3.0
CLIENTS = (1, 2, 8)
QUESTION = "How do I roll back to the previous release?"


def run() -> None:
    with demo_indexes() as indexes, service(indexes) as full, service(indexes, {"RAG_RECORDS": "off"}) as off:
        for served in (full, off):
            asyncio.run(_cpu_ms(served, 1, 0.5))
        for clients in CLIENTS:
            rows = [(asyncio.run(_cpu_ms(full, clients)), asyncio.run(_cpu_ms(off, clients))) for _ in range(ROUNDS)]
            cost = [with_record - without for with_record, without in rows]
            print(
                f"{clients} client{'s' if clients > 1 else ' '}: CPU-ms per cached answer "
                f"{statistics.median(row[0] for row in rows):.3f} recorded, {statistics.median(row[1] for row in rows):.3f} not; "
                f"the record costs {statistics.median(cost):.3f} (min {min(cost):.3f}, max {max(cost):.3f})",
                flush=True,
            )
        size_bytes = sum(path.stat().st_size for path in indexes.glob("ledger.sqlite"))
        print(f"ledger: {size_bytes / 2**20:.1f} MiB")


async def _cpu_ms(served: Served, clients: int, round_s: float = ROUND_S) -> float:
    """CPU-ms of the server for one answer."""
    until_s, began_s, count = time.perf_counter() + round_s, served.cpu_s(), 0

    async def client() -> None:
        nonlocal count
        async with Connection(served.port) as connection:
            while time.perf_counter() < until_s:
                status, body = await connection.ask(QUESTION)
                if status != 200:
                    raise RuntimeError(f"{status}: {body.decode()}")
                count += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    return (served.cpu_s() - began_s) * 1000 / count

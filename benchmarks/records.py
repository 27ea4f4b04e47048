"""What a record costs: by itself, and in a server.

By itself: real answers made to entries and written durably, in one process, one after the other and eight at once, which then share one
wait for the disk. In a server: an ask that the cache answers, recorded, against the same from a server that keeps none, in interleaved
rounds; that adds what waking a thread for the disk, and another one after it, costs on the machine.
"""

import asyncio
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.server import Connection, Served, demo_indexes, service
from rag_service.catalog import Catalog
from rag_service.ledger.sqlite import SqliteLedger
from rag_service.question import Question
from rag_service.recording import Recorder
from rag_service.settings import load_settings
from rag_service.wiring.releases import open_release

ROUNDS = 5
ROUND_S = 3.0
CLIENTS = (1, 2, 8)
TOGETHER = (1, 8)
RECORDS = 2000
QUESTION = "How do I roll back to the previous release?"


def run() -> None:
    with demo_indexes() as indexes:
        for together in TOGETHER:
            costs = [_alone_ms(indexes, together) for _ in range(ROUNDS)]
            print(
                f"by itself, {together} at once: CPU-ms a record {statistics.median(costs):.3f} "
                f"(min {min(costs):.3f}, max {max(costs):.3f})",
                flush=True,
            )
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


def _alone_ms(indexes: Path, together: int) -> float:
    """CPU-ms for one record, encoded and on the disk."""
    settings, catalog = load_settings({}, indexes=indexes, name="demo"), Catalog(indexes)
    pipeline = open_release(settings, catalog, "demo", catalog.release("demo", catalog.active_id("demo"))).pipeline
    answers = [pipeline.ask(Question(f"{QUESTION} {number}")) for number in range(20)]
    with tempfile.TemporaryDirectory(dir=indexes) as folder:
        recorder = Recorder(SqliteLedger(Path(folder) / "ledger.sqlite"))
        for answer in answers:
            recorder.keep(answer, key_id=None)
        began_s = time.process_time()
        for start in range(0, RECORDS, together):
            numbers = range(start, start + together)
            records = [replace(answers[number % len(answers)], answer_id=f"ans_{number:032x}") for number in numbers]
            adding = [recorder.add(record, key_id=None) for record in records]
            for written in adding:
                assert written is not None
                written.result()
        cost_ms = (time.process_time() - began_s) * 1000 / RECORDS
        recorder.close()
    return cost_ms


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

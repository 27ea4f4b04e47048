"""What the service itself costs: an ask that the cache answers, against FastAPI alone that sends the same reply.

The echo has the same request model and the same reply model, and neither keys, limits, traces, metrics nor logs.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from fastapi import FastAPI

from benchmarks.inputs import PROJECT
from benchmarks.server import Connection, Served, demo_indexes, process, service
from rag_service.api.schemas import AskRequest
from rag_service.reply import AskReply

ROUNDS = 5
ROUND_S = 3.0
CLIENTS = 8
QUESTION = "How do I roll back to the previous release?"
_REPLY = "BENCHMARK_REPLY"
"""Variable that names the file with the reply of the echo."""


def run() -> None:
    with demo_indexes() as indexes, service(indexes) as served, tempfile.TemporaryDirectory() as folder:
        reply = Path(folder) / "reply.json"
        reply.write_bytes(asyncio.run(_one(served)))
        print(f"a cached reply of {reply.stat().st_size:,} bytes, {CLIENTS} clients, {ROUNDS} interleaved rounds")
        os.environ[_REPLY] = str(reply)
        command = ["-m", "uvicorn", "benchmarks.http:echo", "--factory", "--port", "0", "--no-access-log"]
        with process([sys.executable, *command], PROJECT) as bare:
            asyncio.run(_one(bare))
            rows = [(asyncio.run(_cpu_ms(served)), asyncio.run(_cpu_ms(bare))) for _ in range(ROUNDS)]
    for name, values in (
        ("CPU-ms, rag-service", [row[0] for row in rows]),
        ("CPU-ms, bare FastAPI", [row[1] for row in rows]),
        ("ratio", [row[0] / row[1] for row in rows]),
    ):
        print(f"{name:<22} median {statistics.median(values):6.3f}   min {min(values):6.3f}   max {max(values):6.3f}")


def echo() -> FastAPI:
    """What `uvicorn --factory` serves."""
    reply = AskReply.model_validate_json(Path(os.environ[_REPLY]).read_bytes())
    app = FastAPI()

    @app.post("/ask")
    async def ask(_: AskRequest) -> AskReply:
        return reply

    return app


async def _one(served: Served) -> bytes:
    async with Connection(served.port) as connection:
        status, body = await connection.ask(QUESTION)
    if status != 200:
        raise RuntimeError(f"{status}: {body.decode()}")
    return body


async def _cpu_ms(served: Served) -> float:
    """CPU-ms of the server for one request."""
    until_s, began_s, count = time.perf_counter() + ROUND_S, served.cpu_s(), 0

    async def client() -> None:
        nonlocal count
        async with Connection(served.port) as connection:
            while time.perf_counter() < until_s:
                await connection.ask(QUESTION)
                count += 1

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return (served.cpu_s() - began_s) * 1000 / count

"""The service as a process of its own on the demo index, and a client that says nothing more than HTTP asks for."""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.inputs import PROJECT, default_settings, encoder_folder

START_WITHIN_S = 60


@dataclass(frozen=True, slots=True)
class Served:
    pid: int
    port: int

    def cpu_s(self) -> float:
        """User and system time of the process so far, in steps of a clock tick (10 ms as a rule)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@contextmanager
def demo_indexes() -> Iterator[Path]:
    """A folder of indexes with docs/ built and active as `demo`, and the encoder of this checkout. It goes away afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        indexes = Path(folder) / "indexes"
        indexes.mkdir()
        (indexes / "encoders").symlink_to(encoder_folder(default_settings()).parent.resolve())
        build = ["index", "build", str(PROJECT / "docs"), "--name", "demo", "--activate", "--indexes", str(indexes)]
        subprocess.run([sys.executable, "-m", "rag_service", *build], check=True, env=_plain_environment(), cwd=folder, capture_output=True)
        yield indexes


@contextmanager
def service(indexes: Path, environ: Mapping[str, str] | None = None) -> Iterator[Served]:
    """`rag-service serve` with default settings and the variables of `environ`, ready."""
    command = [sys.executable, "-m", "rag_service", "serve", "--name", "demo", "--port", "0", "--indexes", str(indexes)]
    with process(command, indexes.parent, environ) as served:
        yield served


@contextmanager
def process(command: list[str], folder: Path, environ: Mapping[str, str] | None = None) -> Iterator[Served]:
    """A server that writes its address to its log once it is ready. What it logs goes to a file, as it would in use."""
    with tempfile.TemporaryFile("w+") as log:
        variables = _plain_environment() | dict(environ or {})
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=variables, cwd=folder)
        try:
            yield Served(server.pid, _port(server, Path(f"/proc/self/fd/{log.fileno()}")))
        finally:
            server.terminate()
            server.wait()


def _port(server: "subprocess.Popen[bytes]", log: Path) -> int:
    deadline_s = time.monotonic() + START_WITHIN_S
    while not (match := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())):
        if server.poll() is not None or time.monotonic() > deadline_s:
            raise RuntimeError(f"the server did not start: {log.read_text()}")
        time.sleep(0.02)
    return int(match[1])


def _plain_environment() -> dict[str, str]:
    """Without settings of the shell, and with the project importable from any folder."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("RAG_", "OTEL_"))} | {"PYTHONPATH": str(PROJECT)}


class Connection:
    """One connection that is kept open. Open it with `async with`."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, question: str, **more: object) -> tuple[int, bytes]:
        return await self.send(b"POST", b"/ask", json.dumps({"question": question, **more}).encode())

    async def send(self, method: bytes, path: bytes, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body. Raises `OSError` and `EOFError` where the server does not answer in full."""
        head = b"%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._writer.write(head % (method, path, len(body)) + body)
        reply = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        _, _, after = reply.partition(b"content-length:")
        return int(reply[9:12]), await self._reader.readexactly(int(after.split(b"\r\n", 1)[0]))


def percentile(values: list[float], share: float) -> float:
    """`share` 0 … 1 of the values are no larger; NaN where there are none."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else float("nan")

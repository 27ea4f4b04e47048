"""CPU and memory of a server from its start until it is ready, and after it has answered; time of the first answer on the command line.

Each run is a fresh process over the demo index (built if it is not there).
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from benchmarks.inputs import PROJECT, default_settings
from rag_service.catalog import Catalog

RUNS = 5
ASKS = 50


def run() -> None:
    settings = default_settings()
    if not Catalog(settings.indexes).versions("demo"):
        subprocess.run(
            [sys.executable, "-m", "rag_service", "index", "build", str(PROJECT / "docs"), "-n", "demo", "--activate"],
            check=True,
            env=os.environ | {"RAG_INDEXES": str(settings.indexes)},
        )
    rows = [_one_run(settings.indexes) for _ in range(RUNS)]
    for column, what in enumerate(
        ("CPU-s from start to ready", "wall-s from start to ready", "MiB resident when ready", f"MiB resident after {ASKS} questions")
    ):
        values = [row[column] for row in rows]
        print(f"{what:<34} median {statistics.median(values):8.2f}   min {min(values):8.2f}   max {max(values):8.2f}")


def _one_run(indexes: Path) -> tuple[float, float, float, float]:
    command = [sys.executable, "-m", "rag_service", "serve", "--name", "demo", "--port", "0", "--indexes", str(indexes)]
    began = time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            url = next(match[0] for line in server.stderr if (match := re.search(r"http://[\d.]+:\d+", line)))
            wall_s = time.monotonic() - began
            cpu_s, ready_mib = _cpu_s(server.pid), _resident_mib(server.pid)
            for number in range(ASKS):
                body = json.dumps({"question": f"What does release {number} say about an index version?"}).encode()
                request = urllib.request.Request(f"{url}/ask", body, {"content-type": "application/json"})
                with urllib.request.urlopen(request, timeout=30) as reply:  # loopback only
                    reply.read()
            return cpu_s, wall_s, ready_mib, _resident_mib(server.pid)
        finally:
            server.terminate()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mib(pid: int) -> float:
    return next(int(line.split()[1]) / 1024 for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))

"""A real Prometheus on the loopback interface, with exemplars on. Tests that need it skip where it is not installed."""

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


def program(name: str) -> str:
    """Its path; without it the test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@dataclass(frozen=True)
class Prometheus:
    url: str

    def asked(self, path: str, **parameters: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=5) as reply:
            return json.loads(reply.read())["data"]

    def series(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each, at this moment."""
        found = self.asked("query", query=query)
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(each["metric"], float(each["value"][1])) for each in found["result"]]

    def value(self, query: str) -> float | None:
        """Of a query with one result; None where there is none."""
        found = self.series(query)
        assert len(found) <= 1, found
        return found[0][1] if found else None

    def exemplars(self, query: str) -> list[tuple[str, float]]:
        """Trace id and value of each, of the last minute."""
        now_s = time.time()
        found = self.asked("query_exemplars", query=query, start=str(now_s - 60), end=str(now_s + 60))
        return [(each["labels"]["trace_id"], float(each["value"])) for series in found for each in series["exemplars"]]

    @property
    def ready(self) -> bool:
        """Whether it has scraped."""
        try:
            return bool(found := self.series("up")) and all(value == 1 for _, value in found)
        except OSError:  # it listens before it answers
            return False


@contextmanager
def running_prometheus(config: str, folder: Path) -> Iterator[Prometheus]:
    """With this `prometheus.yml`, until the end of `with`."""
    path = folder / "prometheus.yml"
    path.write_text(config)
    flags = ["--enable-feature=exemplar-storage", "--web.listen-address=127.0.0.1:0", f"--storage.tsdb.path={folder / 'data'}"]
    hidden = ["--scrape.discovery-reload-interval=100ms"]  # five seconds otherwise, until it looks at its targets
    command = [program("prometheus"), f"--config.file={path}", *flags, *hidden]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=folder)
    try:
        yield Prometheus(f"http://127.0.0.1:{_port_of(process)}")
    finally:
        process.terminate()
        process.communicate(timeout=10)


def wait_for(true: Callable[[], bool], within_s: float = 20.0) -> None:
    end_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.05)


def _port_of(process: "subprocess.Popen[str]") -> int:
    """The port that it took, from its log, which is read to its end so that it never waits for a reader."""
    found: list[int] = []
    listening = threading.Event()
    lines: list[str] = []

    def follow() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if match := re.search(r'msg="Listening on" address=127\.0\.0\.1:(\d+)', line):
                found.append(int(match[1]))
                listening.set()
        listening.set()

    threading.Thread(target=follow, daemon=True).start()
    assert listening.wait(20), "it does not start"
    assert found, "".join(lines)
    return found[0]

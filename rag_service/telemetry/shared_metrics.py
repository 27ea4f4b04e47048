"""The metrics of several workers, told by whichever of them is asked. Each series then has the label `worker`.

Every worker listens on a socket file in a folder that nobody else can enter, and hands out its own metrics there. A worker that does not
answer in time is left out of that scrape: its series are missing then, and not zero.
"""

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

logger = logging.getLogger("rag_service.telemetry")

_WITHIN_S = 1.0
_AT_ONCE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Worker:
    """One of several processes that answer on one port."""

    number: int
    """From 0."""
    folder: Path
    """That they share, and nobody else can enter."""


class SharedMetrics:
    """`own` gives this worker's metrics in OpenMetrics form. Call `start` once."""

    def __init__(self, worker: Worker, *, own: Callable[[], bytes]) -> None:
        self._folder = worker.folder
        self._number = worker.number
        self._own = own

    def start(self) -> None:
        path = self._path(self._number)
        path.unlink(missing_ok=True)  # of a worker that died
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen()
        threading.Thread(target=self._hand_out, args=(listener,), name="metrics", daemon=True).start()

    def families(self) -> list[Metric]:
        """Of every worker that answers, each series once."""
        merged: dict[str, Metric] = {}
        for number, text in self._texts():
            for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]  # prometheus_client leaves it so
                known = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type, family.unit))
                known.samples += [_of_worker(sample, number) for sample in family.samples]
        return list(merged.values())

    def _texts(self) -> Iterator[tuple[int, str]]:
        numbers = sorted(int(path.stem) for path in self._folder.glob("*.sock"))
        for number in numbers:
            if number == self._number:
                yield number, self._own().decode()
                continue
            with suppress(OSError):
                yield number, self._ask(number)

    def _ask(self, number: int) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(_WITHIN_S)
            asking.connect(str(self._path(number)))
            parts = []
            while part := asking.recv(_AT_ONCE_BYTES):
                parts.append(part)
        return b"".join(parts).decode()

    def _hand_out(self, listener: socket.socket) -> None:
        while True:
            asked, _ = listener.accept()
            with asked, suppress(OSError):
                asked.settimeout(_WITHIN_S)
                asked.sendall(self._own())

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.sock"


class Families(Collector):
    """What has been collected already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _of_worker(sample: Sample, number: int) -> Sample:
    return sample._replace(labels={**sample.labels, "worker": str(number + 1)})

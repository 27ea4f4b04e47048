"""A network between service and database that is slow and loses what is sent (`make postgres`)."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import quantiles
from subprocess import Popen
from typing import Any

import pytest

from rag_service.database import Database
from rag_service.kept import RecordQuery
from rag_service.ledger.postgres import PostgresLedger
from rag_service.settings import load_settings
from rag_service.wiring.building import build
from rag_service.wiring.releases import make_release
from rag_service.wiring.stores import open_catalog
from tests.conftest import SilentProgress
from tests.doubles import HOLIDAYS
from tests.postgres.bad_network import FINE, BadNetwork, Weather
from tests.postgres.client import Client
from tests.postgres.server import PostgresServer
from tests.processes import ServerProcess

BAD = Weather(delay_s=0.1, jitter_s=0.05, loss=0.05)
"""Of each direction: 200 ms ± 100 ms there and back, and 5 % of all that is sent is lost."""
CLIENTS = 6
LOAD_S = 25.0
DEADLINE_S = 30.0


@pytest.fixture
def network(server: PostgresServer) -> Iterator[BadNetwork]:
    network = BadNetwork(server.port, seed=23)
    yield network
    network.close()


@pytest.fixture
def service(
    server: PostgresServer, network: BadNetwork, tmp_path: Path, indexes: Path, handbook: Path, start: Callable[..., "Popen[str]"]
) -> ServerProcess:
    """Of the handbook, whose database is at the other end of the network."""
    catalog = open_catalog(load_settings({}, indexes=indexes, store=server.url("rag"), name="handbook"))
    settings = load_settings({}, indexes=indexes, store=server.url("rag"), name="handbook")
    built = build(settings, catalog, "handbook", str(handbook), SilentProgress())
    catalog.activate("handbook", make_release(settings, catalog, "handbook", built.manifest.version))
    url = server.url("rag").replace(f":{server.port}/", f":{network.port}/")
    environ = {"RAG_STORE": url, "RAG_INDEXES": str(tmp_path / "elsewhere"), "RAG_NAME": "handbook", "RAG_TIMEOUT_S": str(DEADLINE_S)}
    return ServerProcess(start("serve", "--port", "0", environ=environ))


class Asking:
    """Clients that ask one question after the other, none twice, and write down what came of it."""

    def __init__(self, client: Client) -> None:
        self.replies: list[tuple[float, int, Any]] = []
        """Seconds, status, body."""
        self._client = client
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self, client: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            began_s = time.monotonic()
            status, body = self._client.get("/ask", {"question": f"{HOLIDAYS} Employee {client}-{number} asks."})
            self.replies.append((time.monotonic() - began_s, status, body))

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


def connections(server: PostgresServer) -> int:
    [(found,)] = server.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'rag' AND pid <> pg_backend_pid()", database="rag")
    return int(found)


def test_a_bad_network_makes_answers_slow_and_costs_none(server: PostgresServer, network: BadNetwork, service: ServerProcess) -> None:
    client = Client(service.port)
    assert client.get("/ask", {"question": HOLIDAYS})[0] == 200
    network.weather, before = BAD, network.connected
    asking, most, until_s = Asking(client), 0, time.monotonic() + LOAD_S
    while time.monotonic() < until_s:
        most = max(most, connections(server))
        time.sleep(0.25)
    asking.end()
    opened = network.connected - before
    took_s = sorted(seconds for seconds, _, _ in asking.replies)
    middle_s, last_s = quantiles(took_s, n=100)[49], quantiles(took_s, n=100)[98]
    sys.stdout.write(
        f"\n{len(took_s)} answers in {LOAD_S:.0f} s by {CLIENTS} clients: half within {middle_s:.2f} s, 99 % within {last_s:.2f} s; "
        f"{opened} connections opened, at most {most} at once\n"
    )
    assert [(status, body) for _, status, body in asking.replies if status != 200] == []
    assert [body for _, _, body in asking.replies if not body["trace"]["recorded"]] == []
    assert last_s < DEADLINE_S / 3
    assert most <= CLIENTS + 6
    assert opened <= 2 * (CLIENTS + 6)

    network.weather = FINE
    time.sleep(1)
    quick_s = []
    for number in range(5):
        began_s = time.monotonic()
        assert client.get("/ask", {"question": f"{HOLIDAYS} After it, {number}."})[0] == 200
        quick_s.append(time.monotonic() - began_s)
    assert sorted(quick_s)[2] < 0.3
    assert service.end() == 0

    ledger = PostgresLedger(Database(server.url("rag")))
    kept = {kept.record.answer_id for kept in ledger.records(RecordQuery()) if not hasattr(kept, "what")}  # type: ignore[union-attr]
    assert {body["answer_id"] for _, _, body in asking.replies} <= kept
    assert ledger.audit().flaws == ()
    ledger.close()

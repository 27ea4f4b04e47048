"""A server is killed under load, again and again, and whatever it acknowledged is looked for in its ledger (`make crash`).

Not a part of `make test`: pytest collects files of this name only where they are named. A kill shows what a crash of the process leaves.
What a loss of power leaves depends on the disk as well, and cannot be shown this way.
"""

import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from subprocess import PIPE, Popen
from sys import executable
from typing import Any

import pytest

from rag_service.errors import NotFound
from rag_service.kept import Kept, RecordQuery
from rag_service.ledger.sqlite import SqliteLedger
from rag_service.record import Receipt
from tests.conftest import copy_of
from tests.processes import ServerProcess

KILLS = 60
CLIENTS = 6
SEED = 20261126
MOST_UNDER_LOAD_S = 1.5
MOST_STARTING_S = 1.2
WAYS = ("answer", "answer", "answer", "batch", "stream", "rate", "erase")


@dataclass
class Acknowledged:
    """What whole replies have said, and what was asked for without hearing how it ended."""

    answers: dict[str, Receipt] = field(default_factory=dict)
    rated: dict[str, int] = field(default_factory=dict)
    """How many ratings of an answer."""
    erased: set[str] = field(default_factory=set)
    perhaps_erased: set[str] = field(default_factory=set)

    def of(self, reply: Any) -> None:
        trace = reply["trace"]
        assert trace["recorded"] is True, trace["unknown"]
        self.answers[reply["answer_id"]] = Receipt(**trace["receipt"])

    def add(self, other: "Acknowledged") -> None:
        self.answers |= other.answers
        self.rated |= other.rated
        self.erased |= other.erased
        self.perhaps_erased |= other.perhaps_erased


class Client(threading.Thread):
    """Asks without a pause until the server is gone. It erases and rates its own answers alone, so that it knows what it did."""

    def __init__(self, port: int, number: int, numbers: Iterator[int]) -> None:
        super().__init__(daemon=True)
        self.acknowledged = Acknowledged()
        self.problem: Exception | None = None
        self._port, self._numbers, self._dice = port, numbers, random.Random(number)
        self._mine: list[str] = []

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            while True:
                getattr(self, f"_{self._dice.choice(WAYS)}")(connection)
        except (OSError, HTTPException):
            pass  # killed
        except Exception as error:  # noqa: BLE001 - told by the test, which is another thread
            self.problem = error
        finally:
            connection.close()

    def _answer(self, connection: HTTPConnection) -> None:
        self._heard(json.loads(_sent(connection, "POST", "/ask", {**self._question(), "cache": False})))

    def _batch(self, connection: HTTPConnection) -> None:
        sent = {"cache": False, "questions": [self._question() for _ in range(4)]}
        for result in json.loads(_sent(connection, "POST", "/ask/batch", sent))["results"]:
            self._heard(result)

    def _stream(self, connection: HTTPConnection) -> None:
        frames = _sent(connection, "POST", "/ask", {**self._question(), "cache": False, "stream": True}).decode().strip().split("\n\n")
        if frames[-1].startswith("event: done\n"):  # a stream that breaks off has acknowledged nothing
            self._heard(json.loads(frames[-1].partition("data: ")[2]))

    def _rate(self, connection: HTTPConnection) -> None:
        if self._mine:
            chosen = self._dice.choice(self._mine)
            _sent(connection, "POST", f"/traces/{chosen}/feedback", {"rating": "up"})
            self.acknowledged.rated[chosen] = self.acknowledged.rated.get(chosen, 0) + 1

    def _erase(self, connection: HTTPConnection) -> None:
        if len(self._mine) > 5 and self._dice.random() < 0.3:
            chosen = self._mine.pop(0)
            self.acknowledged.perhaps_erased.add(chosen)
            assert json.loads(_sent(connection, "DELETE", f"/traces/{chosen}")) == {"erased": 1}
            self.acknowledged.erased.add(chosen)

    def _question(self) -> dict[str, Any]:
        return {"question": f"How many days of holiday has employee {next(self._numbers)}?", "min_confidence": 0}

    def _heard(self, reply: Any) -> None:
        self.acknowledged.of(reply)
        self._mine.append(reply["answer_id"])


def _sent(connection: HTTPConnection, method: str, path: str, payload: Any = None) -> bytes:
    """The whole reply. Raises `HTTPException` or `OSError` where it does not come whole."""
    connection.request(method, path, json.dumps(payload) if payload else None, {"content-type": "application/json"})
    response = connection.getresponse()
    body = response.read()
    assert response.status in {200, 201}, body
    return body


@pytest.fixture
def indexes(tmp_path: Path, served_indexes: Path) -> Path:
    return copy_of(served_indexes, tmp_path / "indexes")


def started(indexes: Path) -> "Popen[str]":
    command = [executable, "-m", "rag_service", "serve", "--name", "handbook", "--port", "0", "--indexes", str(indexes)]
    return Popen(command, stdout=PIPE, stderr=PIPE, text=True, cwd=indexes)


def kill_under_load(process: "Popen[str]", after_s: float, numbers: Iterator[int], acknowledged: Acknowledged) -> None:
    server = ServerProcess(process)
    clients = [Client(server.port, next(numbers), numbers) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    time.sleep(after_s)
    assert server.runs, server.said
    server.end(signal.SIGKILL)
    for client in clients:
        client.join(timeout=60)
        assert not client.is_alive()
        if client.problem is not None:
            raise client.problem
        acknowledged.add(client.acknowledged)


def lost(ledger: SqliteLedger, acknowledged: Acknowledged) -> list[str]:
    """What was said to be written, rated or erased, and is not."""
    try:
        kept = {one.record.answer_id: one for one in ledger.records(RecordQuery()) if isinstance(one, Kept)}
    except NotFound:
        kept = {}
    due = acknowledged.answers.keys() - acknowledged.perhaps_erased
    return [
        *(f"{one} is not there" for one in due - kept.keys()),
        *(f"{one} is there under another receipt" for one in due & kept.keys() if kept[one].receipt != acknowledged.answers[one]),
        *(f"{one} was erased and is there" for one in acknowledged.erased & kept.keys()),
        *(f"{one} has lost ratings" for one in due & kept.keys() if len(kept[one].feedback) < acknowledged.rated.get(one, 0)),
    ]


def intact(ledger: SqliteLedger) -> None:
    with suppress(NotFound):  # killed before the first answer of all
        assert ledger.audit().flaws == ()


def test_every_acknowledged_answer_is_there_after_every_kill(indexes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dice, numbers, acknowledged = random.Random(SEED), count(1), Acknowledged()
    ledger = SqliteLedger(indexes / "ledger.sqlite")
    for kill in range(KILLS):
        with started(indexes) as process:
            if kill % 6 == 5:  # while it starts, and looks at what the last kill left
                time.sleep(dice.uniform(0.3, MOST_STARTING_S))
                process.kill()
            else:
                kill_under_load(process, dice.uniform(0.02, MOST_UNDER_LOAD_S), numbers, acknowledged)
        intact(ledger)
        assert lost(ledger, acknowledged) == [], f"after kill {kill + 1}"
    with started(indexes) as process:
        server = ServerProcess(process)
        connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        acknowledged.of(json.loads(_sent(connection, "POST", "/ask", {"question": "Who wears a yellow badge?"})))
        connection.close()
        assert server.end() == 0, server.said
    intact(ledger)
    assert lost(ledger, acknowledged) == []
    due = acknowledged.answers.keys() - acknowledged.perhaps_erased
    audit = ledger.audit()
    with capsys.disabled():
        print(  # noqa: T201 - the one line that this suite is run for
            f"\n{KILLS} kills, {len(due):,} acknowledged, {len(due):,} found; {audit.answers:,} answers in the ledger, "
            f"{len(acknowledged.erased):,} erasures and {sum(acknowledged.rated.values()):,} ratings acknowledged, none lost"
        )
    assert len(acknowledged.answers) > 5 * KILLS, "there was too little load to show anything"

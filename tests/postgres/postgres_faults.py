"""Databases that are killed, away, full, paused or replaced while they are used (`make postgres`).

Not a part of `make test`: pytest collects files of this name only where they are named. Servers here sync to the disk, as one in use does.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import Popen

import pytest

from rag_service.database import Database
from rag_service.errors import RagError, StorageFailed
from rag_service.kept import RecordQuery
from rag_service.ledger.postgres import PostgresLedger
from rag_service.record import Receipt
from rag_service.settings import load_settings
from rag_service.stores.pgvector import PgvectorStore, make_vectors
from rag_service.wiring.building import build
from rag_service.wiring.stores import open_catalog
from tests.conftest import SilentProgress
from tests.contracts.test_stores import DIMENSION, random_rows
from tests.doubles import HOLIDAYS
from tests.postgres.client import Client
from tests.postgres.server import PASSWORD, PostgresServer, free_port
from tests.recorded import answer_id, entry
from tests.test_catalog import release

KILLS = 8
WRITERS = 6


class Writing:
    """Threads that add answers, one after the other, and write down what was confirmed; they go on after a failure."""

    def __init__(self, ledger: PostgresLedger) -> None:
        self.confirmed: dict[str, Receipt] = {}
        self.failures: list[RagError] = []
        self.confirmed_at_s: list[float] = []
        self._ledger = ledger
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def _run(self, writer: int) -> None:
        number = writer * 1_000_000
        while not self._stop.is_set():
            number += 1
            try:
                receipt = self._ledger.add(entry(number)).result(timeout=60)
            except RagError as error:
                self.failures.append(error)
                time.sleep(0.02)
            else:
                self.confirmed[answer_id(number)] = receipt
                self.confirmed_at_s.append(time.monotonic())

    def wait_for(self, more: int, within_s: float = 60) -> None:
        wanted, deadline_s = len(self.confirmed) + more, time.monotonic() + within_s
        while len(self.confirmed) < wanted:
            assert time.monotonic() < deadline_s, self.failures[-1:]
            time.sleep(0.01)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(90)


def lost(ledger: PostgresLedger, confirmed: dict[str, Receipt]) -> list[str]:
    listed = {kept.record.answer_id: kept.receipt for kept in ledger.records(RecordQuery()) if not hasattr(kept, "what")}  # type: ignore[union-attr]
    return [identifier for identifier, receipt in confirmed.items() if listed.get(identifier) != receipt]


def test_nothing_that_was_confirmed_is_lost_however_often_the_server_is_killed(server: PostgresServer) -> None:
    ledger = PostgresLedger(Database(server.url("rag")))
    ledger.check()
    writing = Writing(ledger)
    try:
        for _ in range(KILLS):
            writing.wait_for(30)
            server.kill()
            time.sleep(0.2)
            server.start()
        writing.wait_for(30)
    finally:
        writing.end()
    assert writing.failures, "nothing was under way when the server was killed"
    assert {type(error) for error in writing.failures} == {StorageFailed}
    assert lost(ledger, writing.confirmed) == []
    audit = ledger.audit()
    assert audit.flaws == ()
    assert audit.answers >= len(writing.confirmed)
    ledger.close()


def standby_of(primary: PostgresServer, servers: list[PostgresServer], name: str = "standby") -> PostgresServer:
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    primary._own(folder)
    where = f"host=127.0.0.1 port={primary.port} user=admin application_name={name}"
    primary.run("pg_basebackup", "-d", f"{where} password='{PASSWORD}'", "-D", folder / "data", "-R", "-X", "stream", "-c", "fast")
    standby = PostgresServer(durable=True, data=folder / "data")
    servers.append(standby)
    return standby.start()


@pytest.fixture
def pair(servers: list[PostgresServer]) -> tuple[PostgresServer, PostgresServer]:
    """A primary that confirms nothing before its standby has it, where it can be read; and the standby."""
    primary = PostgresServer(durable=True)
    servers.append(primary)
    primary.start()
    primary.sql("CREATE DATABASE rag")
    standby = standby_of(primary, servers)
    primary.sql(
        "ALTER SYSTEM SET synchronous_standby_names = '*'", "ALTER SYSTEM SET synchronous_commit = remote_apply", "SELECT pg_reload_conf()"
    )
    return primary, standby


def both(primary: PostgresServer, standby: PostgresServer) -> str:
    """The URL that a service is given: whichever answers is read, whichever is the primary is written to."""
    return primary.url("rag").replace(f":{primary.port}/", f":{primary.port},127.0.0.1:{standby.port}/") + "?target_session_attrs=any"


def test_a_promoted_standby_has_all_that_was_confirmed_and_is_read_meanwhile(pair: tuple[PostgresServer, PostgresServer]) -> None:
    primary, standby = pair
    url = both(primary, standby)
    ledger, rows = PostgresLedger(Database(url)), random_rows(500, seed=1)
    with Database(url).writing("write to") as connection:
        connection.execute("CREATE SCHEMA rag")
        connection.execute("CREATE EXTENSION vector")
        make_vectors(connection, "vectors_1", [rows], dimension=DIMENSION, search="exact")
    store = PgvectorStore(Database(url), "vectors_1", rows=500, dimension=DIMENSION, search="exact")
    expected = [part.tolist() for part in store.search(rows[0], 10)]
    writing = Writing(ledger)
    try:
        writing.wait_for(100)
        killed_s = time.monotonic()
        primary.kill()
        before = [part.tolist() for part in store.search(rows[0], 10)]  # nobody has promoted anything yet
        read_after_s = time.monotonic() - killed_s
        assert ledger.rows(RecordQuery(limit=5)).rows
        standby.run("pg_ctl", "promote", "-D", standby.data, "-w")
        promoted_s = time.monotonic()
        writing.wait_for(100)
    finally:
        writing.end()
    written_after_s = min(at_s for at_s in writing.confirmed_at_s if at_s > promoted_s) - killed_s
    sys.stdout.write(f"\nread after {read_after_s:.2f} s, written after {written_after_s:.2f} s, {len(writing.confirmed)} confirmed\n")
    assert before == expected
    assert [part.tolist() for part in store.search(rows[0], 10)] == expected
    assert lost(ledger, writing.confirmed) == []
    assert ledger.audit().flaws == ()
    ledger.close()


def test_what_the_standby_did_not_confirm_is_not_acknowledged(pair: tuple[PostgresServer, PostgresServer]) -> None:
    """Its replay is paused: the commit waits, for a bounded time, and then counts as one that failed."""
    primary, standby = pair
    ledger = PostgresLedger(Database(primary.url("rag")))
    assert ledger.add(entry(1)).result(timeout=20).seq == 1
    standby.sql("SELECT pg_wal_replay_pause()")
    began_s = time.monotonic()
    with pytest.raises(StorageFailed, match="synchronous replication"):
        ledger.add(entry(2)).result(timeout=30)
    assert 5 < time.monotonic() - began_s < 20
    standby.sql("SELECT pg_wal_replay_resume()")
    receipt = ledger.add(entry(3)).result(timeout=20)
    assert lost(ledger, {answer_id(3): receipt}) == []
    assert ledger.audit().flaws == ()
    ledger.close()


def test_an_activation_is_there_after_the_standby_took_over(pair: tuple[PostgresServer, PostgresServer], tmp_path: Path) -> None:
    primary, standby = pair
    catalog = open_catalog(load_settings({}, indexes=tmp_path, store=both(primary, standby)))
    for number in (3, 4):
        catalog.activate("demo", release(number))
    primary.kill()
    assert catalog.active_id("demo") == release(4).id
    with pytest.raises(StorageFailed):
        catalog.activate("demo", release(5))
    standby.run("pg_ctl", "promote", "-D", standby.data, "-w")
    assert catalog.activate("demo", release(3), action="rollback")
    assert [step.release for step in catalog.history("demo").transitions] == [release(3).id, release(4).id, release(3).id]


def test_a_server_that_does_not_answer_is_waited_for_a_bounded_time(server: PostgresServer) -> None:
    """Connections stay open and nothing comes back, as from a machine that hangs."""
    ledger = PostgresLedger(Database(server.url("rag")))
    assert ledger.add(entry(1)).result(timeout=20).seq == 1
    assert ledger.rows(RecordQuery()).rows
    server.pause()
    try:
        began_s = time.monotonic()
        new = Database(server.url("rag"))
        with pytest.raises(StorageFailed):
            new.fetched("read", "SELECT 1")
        assert time.monotonic() - began_s < 12
        with pytest.raises(StorageFailed):  # on a connection that is open
            ledger.add(entry(3)).result(timeout=30)
    finally:
        server.pause(signal.SIGCONT)
    assert ledger.add(entry(2)).result(timeout=30).seq in {2, 3}  # what nobody confirmed may have been written
    assert ledger.audit().flaws == ()
    ledger.close()


@pytest.fixture
def full_disk(servers: list[PostgresServer]) -> Iterator[tuple[PostgresServer, Path]]:
    """A server on a file system of 160 MB of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    disk = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(disk)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        server = PostgresServer(durable=True, settings=("min_wal_size=32MB", "max_wal_size=32MB"), data=disk / "data", new=True)
        servers.append(server)
        server.start()
        server.sql("CREATE DATABASE rag")
        yield server, disk
        server.stop()
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_costs_answers_their_record_and_nothing_that_was_confirmed(full_disk: tuple[PostgresServer, Path]) -> None:
    server, disk = full_disk
    ledger = PostgresLedger(Database(server.url("rag")))
    ledger.check()
    writing = Writing(ledger)
    filler = disk / "filler"
    try:
        writing.wait_for(50)
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(64 * 1024)):
                pass
        deadline_s = time.monotonic() + 60
        while not writing.failures and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert writing.failures, "the disk never filled up"
        filler.unlink()
        if not server.runs:  # without room for its log PostgreSQL gives up, as it should
            server.start()
        writing.wait_for(50)
    finally:
        writing.end()
        filler.unlink(missing_ok=True)
    assert {type(error) for error in writing.failures} == {StorageFailed}
    assert lost(ledger, writing.confirmed) == []
    assert ledger.audit().flaws == ()
    ledger.close()


def test_a_service_waits_for_its_database_and_outlives_its_restarts(
    server: PostgresServer, tmp_path: Path, indexes: Path, handbook: Path, start: Callable[..., "Popen[str]"]
) -> None:
    settings = load_settings({}, indexes=indexes, store=server.url("rag"), name="handbook")
    catalog = open_catalog(settings)
    built = build(settings, catalog, "handbook", str(handbook), SilentProgress())
    from rag_service.wiring.releases import make_release

    catalog.activate("handbook", make_release(settings, catalog, "handbook", built.manifest.version))
    server.kill()
    client = Client(free_port())
    environ = {"RAG_STORE": server.url("rag"), "RAG_INDEXES": str(tmp_path / "elsewhere"), "RAG_NAME": "handbook"}
    process = start("serve", "--port", client.port, environ=environ)
    not_ready = client.until(503, "/health/ready")
    time.sleep(2)
    not_ready = client.until(503, "/health/ready")
    assert not_ready["problem"] == "storage_failed", not_ready
    status, refused = client.get("/ask", {"question": HOLIDAYS})
    assert (status, refused["error"]["code"]) == (503, "not_ready")

    server.start()
    assert client.until(200, "/health/ready")
    answered = client.until(200, "/ask", {"question": HOLIDAYS})
    assert answered["trace"]["recorded"] is True

    server.kill()
    began_s = time.monotonic()
    status, refused = client.get("/ask", {"question": HOLIDAYS + " Tell me."})
    assert (status, refused["error"]["code"], refused["error"]["retryable"]) == (503, "storage_failed", True)
    assert time.monotonic() - began_s < 10
    server.start()
    again = client.until(200, "/ask", {"question": HOLIDAYS + " Tell me."})
    assert again["answer"] == answered["answer"]
    ledger = PostgresLedger(Database(server.url("rag")))
    assert ledger.find(answered["answer_id"])
    assert ledger.audit().flaws == ()
    ledger.close()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert PASSWORD not in said
    assert server.url("rag") not in said


def test_a_dump_that_is_restored_serves_the_same(server: PostgresServer, tmp_path: Path, indexes: Path, handbook: Path) -> None:
    """As docs/postgres.md has it: `pg_dump`, an empty database, `pg_restore`."""
    settings = load_settings({}, indexes=indexes, store=server.url("rag"), name="handbook")
    catalog = open_catalog(settings)
    built = build(settings, catalog, "handbook", str(handbook), SilentProgress())
    catalog.activate("handbook", release(4))
    ledger = PostgresLedger(Database(server.url("rag")))
    receipts = [ledger.add(entry(number)).result(timeout=20) for number in range(1, 30)]
    ledger.close()
    dump = server.folder / "rag.dump"
    server.run("pg_dump", "--format=custom", f"--file={dump}", server.url("rag"))
    server.sql("CREATE DATABASE restored")
    server.run("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={server.url('restored')}", dump)
    there = open_catalog(load_settings({}, indexes=tmp_path / "two", store=server.url("restored"), name="handbook"))
    assert there.active_id("handbook") == release(4).id
    assert there.holds("handbook", built.manifest.version)
    restored = PostgresLedger(Database(server.url("restored")))
    audit = restored.audit()
    assert (audit.answers, audit.head, audit.flaws) == (29, receipts[-1], ())
    restored.close()
